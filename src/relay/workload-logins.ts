/** Logins of machines: a platform's token exchanged, once, for a token of the relay, and what the policy of now makes of it at each use. */
import { createHash, randomBytes } from 'node:crypto';
import type { TokenAnswer, TokenExchange } from '../api/workload-api.ts';
import { commitBytesMax } from '../api/workload-api.ts';
import { decisionsChain } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';
import type { PrincipalStore } from '../grant/request-store.ts';
import { readToken, refuseToken } from '../oidc/token-parts.ts';
import { clockToleranceSeconds, tokenLifetimeSecondsMax, type VerifiedToken } from '../oidc/verify.ts';
import { settingsOf, WorkloadVerifiers } from '../oidc/workload-verifier.ts';
import type { Policy } from '../policy/policy.ts';
import { humanBehind, type Principal } from '../principal/principal.ts';
import type { StoredLogin, WorkloadLoginStore } from '../store/workload-logins.ts';
import { principalOf, saidByCommit, type Told } from '../workload/chain.ts';
import { matchWorkload } from '../workload/match.ts';
import { offboardingOf } from '../workload/offboarded.ts';
import { oneLine } from '../workload/one-line.ts';
import type { Claims, TrustedIssuer, Workload } from '../workload/workload.ts';
import type { LoginRefusals } from './login-refusals.ts';
import type { RelayLog } from './relay-log.ts';
import { who } from './request-events.ts';

/** By which the relay's own tokens are told from those of issuers. */
export const loginPrefix = 'gw_';
const exchangeHint = 'Exchange a new token of the platform; gate exec does so by itself.';

export type WorkloadLoginsOptions = {
  readonly policy: () => Policy;
  /** The issuer of people's logins. */
  readonly peopleIssuer: string;
  readonly store: WorkloadLoginStore;
  readonly people: PrincipalStore;
  readonly recorder: Recorder;
  readonly refusals: LoginRefusals;
  readonly log: RelayLog;
};

type Judged = { readonly workload: Workload; readonly principal: Principal; readonly said: { readonly reason?: string; readonly ticket?: string } };
type Facts = { readonly issuer: TrustedIssuer; readonly claims: Claims; readonly told: Told };
/** What is known of a login by the time that it is refused. */
type Known = { issuer?: string; workload?: string; subject?: string | undefined };

export class WorkloadLogins {
  readonly #options: WorkloadLoginsOptions;
  readonly #verifiers = new WorkloadVerifiers();

  constructor(options: WorkloadLoginsOptions) {
    this.#options = options;
  }

  /**
   * Fails with `login-failed` where the token does not count, `denied` where it does and the policy gives nothing for it,
   * `issuer-unreachable` where the keys to judge by cannot be had. A refusal is on record, too.
   */
  async exchange(body: TokenExchange): Promise<TokenAnswer> {
    const known: Known = {};
    try {
      return await this.#exchange(body, known);
    } catch (error) {
      if (error instanceof GateError && error.code !== 'internal') await this.#options.refusals.record({ error, ...known });
      throw error;
    }
  }

  /** A token of the relay's own. Fails with `login-required` where it is over, `denied` where the policy gives nothing for it any more. */
  async authenticate(token: string): Promise<VerifiedToken> {
    const kept = await this.#options.store.find(hashOf(token));
    if (kept === undefined) throw new GateError('login-required', 'the relay does not know this login of a machine, or it is over', { hint: exchangeHint });
    const now = new Date();
    const { login } = kept;
    const issuer = [...this.#options.policy().machines.issuers.values()].find(({ url }) => url === login.url);
    if (issuer === undefined || settingsOf(issuer) !== login.settings) {
      throw new GateError('login-required', `what the policy says of the issuer ${login.url} has changed since this login`, { hint: exchangeHint });
    }
    const told: Told = { links: login.links, ...(login.commit !== undefined && { commit: Buffer.from(login.commit, 'base64') }) };
    const { workload, principal, said } = await this.#judge({ issuer, claims: new Map(login.claims), told }, {});
    const expiresAt = new Date(Math.min(kept.expiresAt.getTime(), kept.issuedAt.getTime() + workload.sessionSeconds * 1000));
    if (expiresAt <= now) throw new GateError('login-required', 'this login of a machine is over', { hint: exchangeHint });
    // Its groups are those of the policy of now.
    return { principal, issuedAt: now, expiresAt, said };
  }

  async #exchange(body: TokenExchange, known: Known): Promise<TokenAnswer> {
    const { policy, store, recorder } = this.#options;
    const { issuers } = policy().machines;
    const token = readToken(body.token);
    const issuer = findIssuer(token.payload['iss'], issuers.values());
    known.issuer = issuer.name;
    const now = new Date();
    const verified = await this.#verifiers.of(issuer, issuers.values()).verify(token, now);
    known.subject = oneLine(String(token.payload['sub']));
    const told: Told = { links: body.links ?? [], ...(body.commit !== undefined && { commit: readCommit(body.commit) }) };
    const { workload, principal, said } = await this.#judge({ issuer, claims: verified.claims, told }, known);
    const goodUntil = new Date(verified.expiresAt.getTime() + clockToleranceSeconds * 1000);
    if (!(await store.useUp(verified.once, goodUntil, now))) {
      throw refuseToken('the token was used already, and one gives one login', 'Keep the login that it gave, or ask the platform for a new token.');
    }
    const accessToken = loginPrefix + randomBytes(32).toString('base64url');
    const expiresAt = new Date(now.getTime() + Math.min(workload.sessionSeconds, tokenLifetimeSecondsMax) * 1000);
    // On record before it counts.
    await recorder.record(decisionsChain, [{ kind: 'login', who: who(principal), issuedAt: now.toISOString(), expiresAt: expiresAt.toISOString() }]);
    await store.save(hashOf(accessToken), { login: toStored(issuer, verified.claims, body), issuedAt: now, expiresAt });
    await this.#see(principal, now);
    return { accessToken, expiresAt: expiresAt.toISOString(), principal: who(principal), ...said };
  }

  /** What the policy of now makes of it. */
  async #judge(facts: Facts, known: Known): Promise<Judged> {
    const { machines } = this.#options.policy();
    const { issuer, claims, told } = facts;
    const match = matchWorkload(machines, issuer, claims);
    if (!match.ok) throw new GateError('denied', match.reason, { rule: match.rule, ...(match.hint !== undefined && { hint: match.hint }) });
    const { workload } = match;
    known.workload = workload.name;
    const principal = principalOf({ machines, ...facts, workload });
    const left = offboardingOf(machines, principal);
    if (left !== undefined) throw offboardedError(left);
    await this.#checkHuman(workload, principal);
    return { workload, principal, said: saidByCommit(workload, issuer, claims, told) };
  }

  async #checkHuman({ name, humanGroups }: Workload, principal: Principal): Promise<void> {
    if (humanGroups === undefined) return;
    const human = humanBehind(principal);
    const refuse = (reason: string, hint: string) => new GateError('denied', reason, { rule: `workloads/${name}/human`, hint });
    if (human?.strength !== 'verified' || human.id === undefined) {
      const claimed = human === undefined ? '' : `; ${human.value} is only claimed`;
      throw refuse(
        `${name} asks for a verified person behind each run, and nobody is known to stand behind this one${claimed}`,
        'Write the account that started the run under people: in the policy, or sign the commit with a key that stands there.',
      );
    }
    if (humanGroups.length === 0) return;
    const { people, peopleIssuer } = this.#options;
    const newest = await people.newest({ issuer: peopleIssuer, subject: human.id });
    const wanted = humanGroups.join(' or ');
    if (newest === undefined) {
      throw refuse(`${name} asks for a person of ${wanted} behind each run, and ${human.value} has never logged in here`, `${human.value} runs gate login once, so that the relay knows their groups.`);
    }
    if (humanGroups.some((group) => newest.groups.includes(group))) return;
    throw refuse(`${name} asks for a person of ${wanted} behind each run, and ${human.value} was in none of these at their last login`, `If that has changed, ${human.value} runs gate login.`);
  }

  /** A state that cannot be written now keeps nobody out. */
  async #see(principal: Principal, now: Date): Promise<void> {
    const { people, log } = this.#options;
    await people.see(principal, now).catch((error: unknown) => log.error({ err: error, subject: principal.subject }, 'a new login of a machine could not be kept'));
  }
}

export function offboardedError({ who: name, reason }: { readonly who: string; readonly reason: string }): GateError {
  return new GateError('denied', `${name} has left: ${reason}`, { rule: `offboarded/${name}`, hint: 'See offboarded: in the policy.' });
}

/** By the `iss` that nobody has verified yet: an issuer that is not trusted is never asked for anything. */
function findIssuer(iss: unknown, issuers: Iterable<TrustedIssuer>): TrustedIssuer {
  if (typeof iss !== 'string') throw refuseToken(iss === undefined ? 'the token does not say who issued it' : `the token's claim "iss" is not a text`);
  const all = [...issuers];
  const exact = all.find(({ url }) => url === iss);
  if (exact !== undefined) return exact;
  const bare = (url: string) => url.toLowerCase().replace(/\/+$/, '');
  const near = all.find(({ url }) => bare(url) === bare(iss));
  const hint = near === undefined ? 'Issuers are trusted by issuers: in the policy.' : `The policy trusts ${near.url}, and it must be the same to the letter.`;
  throw refuseToken(`this relay trusts no issuer ${JSON.stringify(oneLine(iss, 200) ?? '')}`, hint);
}

function readCommit(text: string): Buffer {
  const commit = Buffer.from(text, 'base64');
  if (commit.toString('base64') !== text) throw new GateError('usage', 'commit: is not base64');
  if (commit.length > commitBytesMax) throw new GateError('too-large', `the commit object is larger than ${commitBytesMax} bytes`);
  return commit;
}

function toStored(issuer: TrustedIssuer, claims: Claims, { links = [], commit }: TokenExchange): StoredLogin {
  return {
    settings: settingsOf(issuer),
    url: issuer.url,
    claims: [...claims].map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
    links,
    ...(commit !== undefined && { commit }),
  };
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
