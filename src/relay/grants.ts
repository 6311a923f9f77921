/** Grants: given at once, given for an approved request, given for a review afterwards, listed, and taken back. */
import type { GrantRequest, SessionDetails } from '../api/api.ts';
import type { GrantSummary } from '../api/request-api.ts';
import { decisionsChain } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant, GrantStore } from '../grant/grant.ts';
import type { RequestStore } from '../grant/request-store.ts';
import type { AccessRequest, ApprovalRule } from '../grant/request.ts';
import { admit, isAdministrator, isAuditor } from '../policy/decide.ts';
import type { Policy, Role } from '../policy/policy.ts';
import { canVote } from '../policy/vote.ts';
import { isForSamePerson, nameOf } from '../principal/behind.ts';
import { isSameActor, isSamePrincipal, type Principal } from '../principal/principal.ts';
import type { RelayConfig } from './config.ts';
import { createId } from './ids.ts';
import { grantEvent, revokeEvent, who } from './request-events.ts';
import type { Requests } from './requests.ts';
import { revokedError, type Sessions } from './sessions.ts';
import { fallen, type Standing } from './standing.ts';

/** Grants that are looked through for those that the viewer may see. */
const scannedMax = 1000;

export type GrantsOptions = {
  readonly config: RelayConfig;
  readonly policy: () => Policy;
  readonly stores: { readonly grants: GrantStore; readonly requests: RequestStore };
  readonly recorder: Recorder;
  readonly requests: Requests;
  readonly sessions: Sessions;
  readonly standing: Standing;
};

/** Who takes a grant back when it is nobody's decision but what the policy or the directory says. */
const relayItself: Principal = { issuer: 'gate', subject: 'relay', kind: 'workload', name: 'gate', groups: [] };

/** A grant, or the request that it waits for. */
export type Given = { readonly grant: Grant } | { readonly request: AccessRequest };

type Admitted = { readonly role: Role; readonly seconds: number };

export class Grants {
  readonly #options: GrantsOptions;

  constructor(options: GrantsOptions) {
    this.#options = options;
  }

  /** What the caller asks for, as far as the policy of now gives it. */
  async give(principal: Principal, asked: GrantRequest): Promise<Given> {
    if (asked.request !== undefined) return this.#collect(principal, asked, asked.request);
    const admitted = await this.#admitOnRecord(principal, asked);
    const { role } = admitted;
    if (role.approval !== undefined) return { request: await this.#ask(principal, asked, admitted, role.approval) };
    const id = createId('g');
    const review = role.review && (await this.#openReview(principal, asked, admitted, { grant: id, approval: role.review }));
    const grant = newGrant(principal, { ...said(asked), id, target: asked.target, role: role.name, seconds: admitted.seconds, request: review?.id, isReadOnly: asked.readOnly });
    await this.#record([grantEvent(grant, this.#options.policy().digest)]);
    await this.#options.stores.grants.saveGrant(grant);
    return this.#keep(grant);
  }

  /** Asks for a grant without taking it. Fails with `usage` where none needs to be asked for. */
  async ask(principal: Principal, asked: GrantRequest): Promise<AccessRequest> {
    const admitted = await this.#admitOnRecord(principal, asked);
    const { role } = admitted;
    if (role.approval !== undefined) return this.#ask(principal, asked, admitted, role.approval);
    throw new GateError('usage', `the role ${role.name} on ${asked.target} needs no approval`, {
      hint: `Take it with gate connect ${asked.target} --role ${role.name}.`,
    });
  }

  /**
   * Ends a grant and its sessions now. Its owner, administrators, who approved it, and who may review it can. Revoking
   * one that is revoked or has expired already fails with `grant-revoked` or `grant-expired`.
   */
  async revoke(caller: Principal, id: string, reason: string | undefined): Promise<Grant> {
    const grant = await this.find(caller, id);
    if (!(await this.mayRevoke(caller, grant))) {
      throw new GateError('denied', `you may not revoke grant ${grant.id} of ${grant.principal.name}`, {
        rule: 'grant/revoke',
        hint: 'Its owner, who approved it, and administrators may.',
      });
    }
    return this.#revoke(grant, caller, reason);
  }

  /** Ends a grant and its sessions without anybody's asking. One that is over already stays as it is. */
  async revokeBySystem(grant: Grant, reason: string): Promise<void> {
    const current = (await this.#options.stores.grants.loadGrant(grant.id)) ?? grant;
    if (stateOf(current, new Date()) === 'live') await this.#revoke(current, relayItself, reason);
  }

  /** What a vote on a review comes to: one that was turned down ends its grant. */
  async settleReview(request: AccessRequest, by: Principal): Promise<void> {
    if (request.kind !== 'review' || request.state !== 'denied' || request.grant === undefined) return;
    const grant = await this.#options.stores.grants.loadGrant(request.grant);
    if (grant === undefined || stateOf(grant, new Date()) !== 'live') return;
    await this.#revoke(grant, by, `its review was turned down: ${request.endReason ?? ''}`);
  }

  /** By id or a prefix that only one grant has, among those that the viewer may see. */
  async find(viewer: Principal, idPrefix: string): Promise<Grant> {
    const { grants } = this.#options.stores;
    const exact = await grants.loadGrant(idPrefix);
    const candidates = exact === undefined ? await grants.listGrants({ idPrefix, limit: scannedMax }) : [exact];
    const [grant, second] = await this.#visible(viewer, candidates);
    if (second !== undefined) throw new GateError('usage', `more than one grant begins with "${idPrefix}"`);
    if (grant !== undefined) return grant;
    throw new GateError('not-found', `there is no grant "${idPrefix}", or you may not see it`, { hint: 'See gate grants list.' });
  }

  async list(viewer: Principal, limit: number): Promise<GrantSummary[]> {
    const { grants } = this.#options.stores;
    const [own, newest] = [await grants.listGrants({ principal: viewer, limit }), await grants.listGrants({ limit: scannedMax })];
    const others = newest.filter((grant) => !own.some(({ id }) => id === grant.id));
    const all = [...own, ...(await this.#visible(viewer, others))];
    all.sort((one, other) => other.createdAt.getTime() - one.createdAt.getTime());
    const now = new Date();
    return all.slice(0, limit).map((grant) => this.summarize(grant, now));
  }

  summarize(grant: Grant, now: Date): GrantSummary {
    const { id, principal, target, role, reason, ticket, request, revocation } = grant;
    return {
      id,
      principal: { ...principal, groups: [...principal.groups] },
      target,
      role,
      ...(reason !== undefined && { reason }),
      ...(ticket !== undefined && { ticket }),
      ...(request !== undefined && { request }),
      state: stateOf(grant, now),
      createdAt: grant.createdAt.toISOString(),
      expiresAt: grant.expiresAt.toISOString(),
      ...(revocation && { revokedAt: revocation.at.toISOString(), revokedBy: revocation.by.name }),
      ...(revocation?.reason !== undefined && { revokeReason: revocation.reason }),
      sessions: this.#options.sessions.openCount(id),
    };
  }

  /** Who said yes to the request that a grant came of, or by which it is looked at. Undefined where nobody was asked. */
  async approvalOf(id: string): Promise<SessionDetails['approval']> {
    const { grants, requests } = this.#options.stores;
    const asked = (await grants.loadGrant(id))?.request;
    const request = asked === undefined ? undefined : await requests.loadRequest(asked);
    if (request === undefined || request.kind === 'statement') return undefined;
    return { request: request.id, kind: request.kind, state: request.state, by: approversOf(request) };
  }

  /** The same of statements that ran in a session, by the requests whose approval they took. */
  async statementApprovalsIn(session: string): Promise<NonNullable<SessionDetails['statementApprovals']>> {
    const { grants, requests } = this.#options.stores;
    const found = await Promise.all((await grants.approvalsIn(session)).map((id) => requests.loadRequest(id)));
    return found.flatMap((request) => (request === undefined ? [] : [{ request: request.id, by: approversOf(request) }]));
  }

  #admitOnRecord(principal: Principal, asked: GrantRequest): Promise<Admitted> {
    return this.#onRecord(principal, asked, async () => {
      await this.#options.standing.check(principal);
      return this.#admit(principal, asked);
    });
  }

  /** A refusal is an entry, too; one that cannot be written is a refusal all the same. */
  async #onRecord<T>(principal: Principal, { target, role }: GrantRequest, admission: () => Promise<T>): Promise<T> {
    try {
      return await admission();
    } catch (error) {
      if (error instanceof GateError && (error.code === 'denied' || error.code === 'target-unknown')) {
        const rule = error.rule ?? error.code;
        await this.#record([{ kind: 'grant.deny', who: who(principal), target, ...(role !== undefined && { role }), rule, reason: error.message }]).catch(() => undefined);
      }
      throw error;
    }
  }

  /** A policy that came into force meanwhile has looked at the grants that were there; this one it could not know of. */
  async #keep(grant: Grant): Promise<Given> {
    const fall = this.#options.standing.byPolicy(grant.principal);
    if (fall === undefined) return { grant };
    await this.revokeBySystem(grant, fall.reason);
    throw fallen(fall);
  }

  #admit(principal: Principal, asked: GrantRequest): Admitted {
    const { config, policy } = this.#options;
    const role = admit(policy(), principal, asked, new Date());
    if (!config.targets.has(asked.target)) {
      throw new GateError('target-unknown', `the target "${asked.target}" is not configured on this relay`);
    }
    const seconds = asked.durationSeconds ?? Math.min(3600, role.maxDuration);
    if (seconds > role.maxDuration) {
      throw new GateError('denied', `a grant for ${asked.target} lasts at most ${role.maxDuration} seconds`, {
        rule: `${asked.target}/${role.name}/maxDuration`,
        hint: `Ask with --duration ${role.maxDuration}s or less.`,
      });
    }
    return { role, seconds };
  }

  #ask(requester: Principal, asked: GrantRequest, { role, seconds }: Admitted, approval: ApprovalRule): Promise<AccessRequest> {
    const { target } = asked;
    const rule = `${target}/${role.name}/approval`;
    return this.#options.requests.open({ kind: 'grant', requester, target, role: role.name, ...said(asked), approval, rule, durationSeconds: seconds, ...(asked.readOnly && { isReadOnly: true }) });
  }

  #openReview(
    requester: Principal,
    asked: GrantRequest,
    { role, seconds }: Admitted,
    { grant, approval }: { readonly grant: string; readonly approval: ApprovalRule },
  ): Promise<AccessRequest> {
    const { target } = asked;
    const rule = `${target}/${role.name}/review`;
    return this.#options.requests.open({ kind: 'review', requester, target, role: role.name, ...said(asked), approval, rule, durationSeconds: seconds, grant, ...(asked.readOnly && { isReadOnly: true }) });
  }

  /** The grant of an approved request: as it was asked for, if the caller's groups and the policy still give it. */
  async #collect(principal: Principal, asked: GrantRequest, id: string): Promise<Given> {
    const { requests, stores, policy } = this.#options;
    const request = await stores.requests.loadRequest(id);
    if (request === undefined || request.kind !== 'grant' || !isSameActor(request.requester, principal)) {
      throw new GateError('not-found', `you have no request "${id}" for a grant`, { hint: 'See gate requests list --mine.' });
    }
    if (!isForSamePerson(request.requester, principal)) {
      throw new GateError('denied', `request ${id} was made by ${nameOf(request.requester)}, and another person stands behind this run`, {
        rule: 'request/human',
        requestId: id,
        hint: 'Ask for approval in this run.',
      });
    }
    const { target, role } = request;
    if (asked.target !== target || (asked.role ?? role) !== role) {
      throw new GateError('denied', `request ${id} is for ${target} as ${role}`, { rule: 'request/target', requestId: id });
    }
    if (request.state === 'pending') return { request };
    await this.#onRecord(principal, { ...asked, role }, () => this.#options.standing.check(principal));
    const grant = await requests.collect(id, (approved) => {
      const { reason, ticket, durationSeconds, isReadOnly } = approved;
      const admitted = this.#admit(principal, { target, role, reason, ticket, durationSeconds });
      const made = newGrant(principal, { ...said(approved), id: createId('g'), target, role, seconds: admitted.seconds, request: id, isReadOnly: isReadOnly ?? asked.readOnly });
      return { grant: made, rule: admitted.role.approval ?? approved.approval, events: [grantEvent(made, policy().digest)] };
    });
    return this.#keep(grant);
  }

  async #revoke(grant: Grant, by: Principal, reason: string | undefined): Promise<Grant> {
    const { stores, sessions } = this.#options;
    const already = revokedError(grant);
    if (already !== undefined) throw already;
    if (stateOf(grant, new Date()) === 'expired') throw new GateError('grant-expired', `grant ${grant.id} expired at ${grant.expiresAt.toISOString()}`);
    const revocation = { at: new Date(), by, ...(reason !== undefined && { reason }) };
    const revoked = { ...grant, revocation };
    await this.#record([revokeEvent(grant.id, by, reason)]);
    // Sessions end at once. One that opens meanwhile either finds the revocation in the state, or is found afterwards.
    const ending = sessions.endGrant(grant.id, revokedError(revoked) as GateError);
    const isFirst = await stores.grants.revokeGrant(grant.id, revocation);
    await Promise.all([ending, sessions.endGrant(grant.id, revokedError(revoked) as GateError)]);
    return isFirst ? revoked : ((await stores.grants.loadGrant(grant.id)) ?? revoked);
  }

  /** Its owner, administrators, who approved it, and who may review it. */
  async mayRevoke(caller: Principal, grant: Grant): Promise<boolean> {
    return isSamePrincipal(caller, grant.principal) || isAdministrator(this.#options.policy(), caller) || this.#hasSay(caller, grant);
  }

  async #visible(viewer: Principal, grants: readonly Grant[]): Promise<Grant[]> {
    const policy = this.#options.policy();
    if (isAuditor(policy, viewer) || isAdministrator(policy, viewer)) return [...grants];
    const visible: Grant[] = [];
    for (const grant of grants) {
      if (isSamePrincipal(grant.principal, viewer) || (await this.#hasSay(viewer, grant))) visible.push(grant);
    }
    return visible;
  }

  /** Whether this person approved the grant, or may look at it afterwards. */
  async #hasSay(person: Principal, { request: id }: Grant): Promise<boolean> {
    if (id === undefined || person.kind === 'agent') return false;
    const request = await this.#options.stores.requests.loadRequest(id);
    if (request === undefined) return false;
    if (request.votes.some(({ by, decision }) => decision === 'approve' && isSamePrincipal(by, person))) return true;
    return request.kind === 'review' && canVote({ policy: this.#options.policy(), request: { ...request, votes: [] }, voter: person }).ok;
  }

  #record(events: Parameters<Recorder['record']>[1]): Promise<void> {
    return this.#options.recorder.record(decisionsChain, events);
  }
}

function stateOf({ revocation, expiresAt }: Grant, now: Date): GrantSummary['state'] {
  if (revocation !== undefined) return 'revoked';
  return now >= expiresAt ? 'expired' : 'live';
}

type NewGrant = Pick<Grant, 'id' | 'target' | 'role' | 'reason' | 'ticket'> & {
  readonly seconds: number;
  readonly request: string | undefined;
  readonly isReadOnly: boolean | undefined;
};

function newGrant(principal: Principal, { seconds, request, isReadOnly, ...rest }: NewGrant): Grant {
  const createdAt = new Date();
  return {
    ...rest,
    principal,
    ...(request !== undefined && { request }),
    ...(isReadOnly === true && { isReadOnly }),
    createdAt,
    expiresAt: new Date(createdAt.getTime() + seconds * 1000),
  };
}

/** What people said with it, without blanks around. */
function said({ reason, ticket }: { reason?: string | undefined; ticket?: string | undefined }): { reason?: string; ticket?: string } {
  const [why, which] = [reason?.trim(), ticket?.trim()];
  return { ...(why && { reason: why }), ...(which && { ticket: which }) };
}

function approversOf({ votes }: AccessRequest): { name: string; subject: string; at: string }[] {
  return votes.filter(({ decision }) => decision === 'approve').map(({ by, at }) => ({ name: nameOf(by), subject: by.subject, at: at.toISOString() }));
}
