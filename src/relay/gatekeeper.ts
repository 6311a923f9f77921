/** What a text or a prepared name means in this session, and whether it may run now. */
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import { decide, type Decision, type TargetFacts } from '../policy/decide.ts';
import type { Policy } from '../policy/policy.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { Grammar, ParsedSql } from '../sql/parser.ts';
import { resolveFacts } from '../sql/resolve.ts';
import type { StatementKind } from '../sql/kind.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementOutline } from '../sql/outline.ts';
import { cutAtSecret } from '../sql/secrets.ts';
import { andThen } from './and-then.ts';
import { fingerprintOf, parameterHashOf } from './fingerprint.ts';
import type { Holds, Held } from './holds.ts';
import { recordedParameters } from './journal.ts';
import { KnownDecisions, type Decided } from './known-decisions.ts';
import { decideOnMany, statementsPerTurnMax } from './deciding.ts';
import type { StatementParser, Stopping } from './parsing.ts';
import { hiddenNameChange, needsApproval, pinned, portalByFetch, staleMasks, uncountable } from './refusal.ts';
import { MaskRefusal, type Masking, type Sent } from './masking.ts';
import { isCountable } from './row-limit.ts';
import type { Approved, Pending, Portal, Prepared } from './pending.ts';
import type { SettingsWatch } from './settings-watch.ts';
import { ownTurn } from './turns.ts';

/** A decision with what is recorded of the statement; a refusal carries the error that the client gets. */
export type Verdict =
  | (Decided & { readonly ok: true; readonly prepared: Prepared; readonly approved?: Approved })
  | {
      readonly ok: false;
      readonly prepared: Prepared;
      readonly decision: Decision;
      readonly error: GateError;
      readonly position?: number;
    };
export type Allowed = Extract<Verdict, { ok: true }>;

export type Examined = {
  readonly sql: string;
  /** Type OIDs that Parse declares. */
  readonly parameterTypes: readonly number[];
  readonly segment: number;
  readonly stopping: Stopping;
};

export type GatekeeperOptions = {
  readonly grant: Grant;
  readonly target: TargetFacts;
  readonly policy: () => Policy;
  readonly parser: StatementParser;
  /** Of the server. */
  readonly grammar: Grammar;
  readonly pending: Pending;
  readonly settings: SettingsWatch;
  readonly holds: Holds;
  readonly masking: Masking;
};

/** Of a text that could not be examined this much is recorded. */
const unexaminedSqlMax = 2000;
/** Handling a text of this length takes a millisecond or more. */
const longSqlMin = 512 * 1024;

export class Gatekeeper {
  readonly #options: GatekeeperOptions;
  readonly #decisions: KnownDecisions;

  constructor(options: GatekeeperOptions) {
    this.#options = options;
    this.#decisions = new KnownDecisions(options.grant);
  }

  /** Decides on a whole text before any of it is sent. A wait ends with the reason of `stopping`. */
  examine(examined: Examined): Verdict | Promise<Verdict> {
    const { sql, stopping } = examined;
    let parsing: ParsedSql | Promise<ParsedSql>;
    try {
      parsing = this.#options.parser.parse(sql, this.#options.grammar, stopping);
    } catch (error) {
      return unexaminable(sql, error);
    }
    if (!(parsing instanceof Promise)) return this.#examineParsed(examined, parsing);
    const failed = (error: unknown) => unexaminable(sql, error);
    return parsing.then((parsed) => this.#examineParsed(examined, parsed), failed);
  }

  #examineParsed({ sql, parameterTypes, segment, stopping }: Examined, parsed: ParsedSql): Verdict | Promise<Verdict> {
    const { recordedSql, isRedacted, shape } = parsed;
    const base = { ...emptyPrepared, text: sql, sql: recordedSql, isRedacted, ...(shape !== undefined && { shape }) };
    if (!parsed.ok) {
      const error = new GateError('sql-error', parsed.message, { rule: 'parse' });
      return { ...refused(base, error), ...(parsed.position !== undefined && { position: parsed.position }) };
    }
    const { statement } = parsed;
    const { isCopyIn, nameChanges, executes, kinds, outlines } = statement;
    const prepared = { ...base, parameterTypes, kinds, isCopyIn, nameChanges, executes, outlines };
    if (statement.pinnedSetting !== undefined) return refused(prepared, pinned(statement.pinnedSetting));
    const takeUp = () => {
      const deciding = this.decideToRun(prepared, segment, stopping);
      return deciding instanceof Promise && this.#options.masking.isOn ? Promise.race([deciding, stopped(stopping())]) : deciding;
    };
    // To take up the text, and to record it, are pieces of work of their own.
    return sql.length > longSqlMin ? ownTurn().then(takeUp) : takeUp();
  }

  /** Decides on a statement that was examined before, as things are now. */
  #decide(prepared: Prepared, executed: ReadonlyMap<string, readonly StatementOutline[]>): Verdict {
    const { grant, target, settings, pending } = this.#options;
    const { parameterTypes } = prepared;
    const basis = { policy: this.#options.policy(), names: settings.namesIn(pending.status), parameterTypes };
    const known = executed.size > 0 ? undefined : this.#decisions.find(prepared.outlines, basis, Date.now());
    if (known !== undefined) return { ok: true, prepared, decision: known.decision, facts: known.facts, changes: known.changes };
    const { policy } = basis;
    const names = { ...basis.names, prepared: executed, parameterTypes };
    const facts = prepared.outlines.map((outline) => resolveFacts(outline, names));
    const verdict = this.#verdict(prepared, executed, { facts, decision: decide({ facts, grant, target, policy, now: new Date() }) });
    if (verdict.ok && executed.size === 0) this.#decisions.keep(prepared.outlines, basis, verdict);
    return verdict;
  }

  /** The same for a text of many statements. What it comes from may change meanwhile: then it is decided anew. */
  async #decideInTurns(prepared: Prepared, executed: ReadonlyMap<string, readonly StatementOutline[]>, stopping: Stopping | undefined): Promise<Verdict> {
    const { grant, target, settings, pending } = this.#options;
    const { parameterTypes } = prepared;
    for (;;) {
      const [known, policy] = [settings.namesIn(pending.status), this.#options.policy()];
      const names = { ...known, prepared: executed, parameterTypes };
      const input = { grant, target, policy, now: new Date() };
      const decided = await decideOnMany({ outlines: prepared.outlines, names, input, stopping }).catch(gateErrorOf);
      if (decided instanceof GateError) return refused(prepared, decided);
      this.#options.masking.checkUnchanged();
      const isCurrent = this.#options.policy() === policy && settings.namesIn(pending.status) === known && (new Date() < grant.expiresAt || decided.decision.effect === 'deny');
      if (isCurrent) return this.#verdict(prepared, executed, decided);
    }
  }

  #verdict(
    prepared: Prepared,
    executed: ReadonlyMap<string, readonly StatementOutline[]>,
    { facts, decision }: { readonly facts: readonly StatementFacts[]; readonly decision: Decision },
  ): Verdict {
    const outlines = [...prepared.outlines, ...[...executed.values()].flat()];
    const changes = outlines.flatMap(({ settingChanges }) => settingChanges);
    const timeout = this.#options.settings.checkTimeout(changes, decision.statementTimeoutMs);
    if (timeout !== undefined) return refused(prepared, timeout);
    const { effect, rowsMax } = decision;
    if (effect !== 'deny' && rowsMax !== undefined && !isCountable(facts, outlines, rowsMax)) {
      return refused(prepared, uncountable(rowsMax));
    }
    if (effect !== 'deny') return { ok: true, prepared, decision, facts, changes };
    const error = new GateError('denied', decision.reason, {
      rule: decision.rule,
      hint: 'See gate targets for other roles, or ask whoever keeps the policy.',
    });
    return { ok: false, prepared, decision, error };
  }

  /** No promise comes back where the name's meaning is certain. */
  findStatement(name: string, segment: number): Promise<Prepared> | Prepared {
    const known = (found: Prepared | undefined): Prepared => {
      if (found !== undefined) return found;
      throw new GateError('statement-unknown', `prepared statement "${name}" does not exist`);
    };
    return andThen(this.#find(() => this.#options.pending.statements.find(name, segment)), known);
  }

  /** Undefined for a portal that the protocol did not make: it is a cursor declared in SQL, or not there. */
  lookUpPortal(name: string, segment: number): Promise<Portal | undefined> | Portal | undefined {
    return this.#find(() => this.#options.pending.portals.find(name, segment));
  }

  findPortal(name: string, segment: number): Promise<Portal> | Portal {
    const known = (found: Portal | undefined): Portal => {
      if (found !== undefined) return found;
      throw new GateError('portal-unknown', `portal "${name}" does not exist`, {
        hint: 'A cursor that was declared in SQL is read with FETCH.',
      });
    };
    return andThen(this.lookUpPortal(name, segment), known);
  }

  #find<T>(lookUp: () => { readonly value: T | undefined } | 'wait'): Promise<T | undefined> | T | undefined {
    const found = lookUp();
    return found === 'wait' ? this.#findLater(lookUp) : found.value;
  }

  async #findLater<T>(lookUp: () => { readonly value: T | undefined } | 'wait'): Promise<T | undefined> {
    for (;;) {
      const found = lookUp();
      if (found !== 'wait') return found.value;
      // A client that asks for a name in the middle of its COPY data breaks the protocol, and would wait for ever.
      if (this.#options.pending.copyIn?.phase === 'open') {
        throw new GateError('protocol-violation', 'COPY takes data, and data only');
      }
      await this.#options.pending.changed();
    }
  }

  /** Decides on a statement that is about to run: what its EXECUTE stands for may be another than when it came. */
  decideToRun(prepared: Prepared, segment: number, stopping?: Stopping): Verdict | Promise<Verdict> {
    this.#options.masking.checkUnchanged();
    if (prepared.executes.length > 0) return this.#decideToExecute(prepared, segment, stopping);
    const toMask = { executed: noneExecuted, before: [], stopping };
    if (isMany(prepared) || prepared.outlines.some(({ fetches }) => fetches.length > 0)) {
      return this.#decideLater(prepared, prepared.outlines, segment, toMask);
    }
    return this.#masked(this.#decide(prepared, noneExecuted), toMask);
  }

  /** On many statements, or on what may look into portals. `outlines`: of all that runs. */
  async #decideLater(prepared: Prepared, outlines: readonly StatementOutline[], segment: number, toMask: ToMask): Promise<Verdict> {
    const { executed, stopping } = toMask;
    const refusal = await this.#refuseFetch(prepared, outlines, segment);
    const verdict = refusal ?? (isMany(prepared) ? await this.#decideInTurns(prepared, executed, stopping) : this.#decide(prepared, executed));
    return this.#masked(verdict, toMask);
  }

  #masked(verdict: Verdict, toMask: ToMask): Verdict | Promise<Verdict> {
    return verdict.ok && this.#options.masking.isOn ? this.#mask(verdict, toMask) : verdict;
  }

  async #decideToExecute(prepared: Prepared, segment: number, stopping: Stopping | undefined): Promise<Verdict> {
    const executed = await this.#executed(prepared.executes, segment, prepared.nameChanges);
    const kinds = [...new Set([...prepared.kinds, ...executed.kinds])];
    // Of one that was decided on before, only its own text: what it executes may have changed since.
    const [own] = prepared.text.split('\0', 1);
    const now = { ...prepared, kinds, text: [own, ...executed.texts].join('\0') };
    if (executed.changesNames) return refused(now, hiddenNameChange());
    return this.#decideLater(now, [...executed.outlines.values()].flat(), segment, { executed: executed.outlines, before: executed.before, stopping });
  }

  /**
   * What is sent in place of an allowed text, and of what was sent before for the statements that it executes: where
   * the catalog has changed since, those at the server may show what is masked by now.
   */
  async #mask(verdict: Allowed, { executed, before, stopping }: ToMask): Promise<Verdict> {
    const { prepared, decision } = verdict;
    const isHeld = decision.effect === 'hold';
    try {
      if (!this.#options.masking.rewrites) {
        await this.#options.masking.prepareDisplay(this.#options.settings.namesIn(this.#options.pending.status), verdict.facts);
        return verdict;
      }
      for (const one of before) {
        const sent = await this.#sentFor(one, noneExecuted, isHeld);
        if (one.sent === undefined || one.sent.sql !== sent.sql) throw staleMasks();
      }
      const sent = await this.#sentFor(prepared, executed, isHeld, stopping);
      if (prepared.sent !== undefined && prepared.sent.sql !== sent.sql) throw staleMasks();
      return { ...verdict, prepared: { ...prepared, sent } };
    } catch (error) {
      if (!(error instanceof GateError)) throw error;
      const position = error instanceof MaskRefusal ? error.position : undefined;
      return { ...refused(prepared, error), ...(position !== undefined && { position }) };
    }
  }

  async #sentFor({ text, parameterTypes }: Prepared, executed: ReadonlyMap<string, readonly StatementOutline[]>, isHeld: boolean, stopping?: Stopping): Promise<Sent> {
    const { masking, settings, pending } = this.#options;
    await settings.refreshed();
    const [own = ''] = text.split('\0', 1);
    const names = { ...settings.namesIn(pending.status), prepared: executed };
    return masking.apply({ sql: own, parameterTypes, names, isHeld, stopping });
  }

  /** FETCH would run a portal of the protocol, whose statement nobody would see: only Execute may. */
  async #refuseFetch(prepared: Prepared, outlines: readonly StatementOutline[], segment: number): Promise<Verdict | undefined> {
    for (const name of outlines.flatMap(({ fetches }) => fetches)) {
      if ((await this.lookUpPortal(name, segment)) !== undefined) return refused(prepared, portalByFetch(name));
    }
    return undefined;
  }

  /**
   * Waits until a statement that policy holds may run, and decides again then: on what has changed meanwhile, in the
   * policy, in the grant or in what its names stand for, nobody has said yes, so it is held again.
   */
  async settle(verdict: Allowed, values: readonly BoundValue[], segment: number): Promise<Verdict> {
    let held = verdict;
    for (;;) {
      const asked = await this.#heldOf(held, values);
      let approved: Approved;
      try {
        approved = await this.#options.holds.settle(asked);
      } catch (error) {
        if (!(error instanceof GateError)) throw error;
        return refused(verdict.prepared, error);
      }
      // What others have changed in the last seconds counts as well.
      await this.#options.settings.refresh();
      const now = await this.decideToRun(verdict.prepared, segment);
      if (!now.ok || now.decision.effect === 'allow') return now;
      if (this.#fingerprintOf(now) === asked.fingerprint) return { ...now, approved };
      held = now;
    }
  }

  /** Lets a portal run that was approved when it was bound, as long as it still is the same statement. */
  approve(verdict: Allowed, approved: Approved | undefined): Verdict {
    if (approved !== undefined && approved.fingerprint === this.#fingerprintOf(verdict)) return { ...verdict, approved };
    return refused(verdict.prepared, needsApproval(verdict.decision));
  }

  #fingerprintOf({ prepared, facts }: Allowed): string {
    const { settings, grant } = this.#options;
    const agent = grant.principal.kind === 'agent' ? grant.principal.name : undefined;
    return fingerprintOf(prepared.text, facts, settings.actingAs, prepared.parameterTypes, agent);
  }

  async #heldOf(held: Allowed, values: readonly BoundValue[]): Promise<Held> {
    const { prepared, decision, facts } = held;
    const { approval } = decision;
    if (approval === undefined) throw new GateError('internal', `the rule ${decision.rule} holds without saying who may approve`);
    const parameterHash = await parameterHashOf(values);
    const { sql, text, isRedacted, kinds } = prepared;
    return {
      sql,
      text,
      isRedacted,
      kinds,
      values,
      parameters: recordedParameters(values, isRedacted),
      facts,
      fingerprint: this.#fingerprintOf(held),
      parameterHash,
      rule: decision.rule,
      reason: decision.reason,
      approval,
      transaction: this.#options.pending.status,
    };
  }

  /**
   * EXECUTE runs what was prepared: by SQL earlier in this text or session, or through the protocol. Only a statement
   * of the protocol can itself change names, or run yet another one.
   */
  async #executed(names: readonly string[], segment: number, inText: Prepared['nameChanges']) {
    const outlines = new Map<string, readonly StatementOutline[]>();
    const texts: string[] = [];
    const known: Prepared[] = [];
    let changesNames = false;
    for (const name of names) {
      const own = inText.flatMap((change) => (change.tag === 'PREPARE' && change.name === name ? change.outline : []));
      const before = await this.#find(() => this.#options.pending.statements.find(name, segment));
      if (before !== undefined && (before.nameChanges.length > 0 || before.executes.length > 0)) changesNames = true;
      const declared = before?.outlines.map((outline) => ({ ...outline, parameterTypes: before.parameterTypes })) ?? [];
      if (own.length > 0 || before !== undefined) outlines.set(name, [...own, ...declared]);
      if (before === undefined) continue;
      texts.push(before.text);
      known.push(before);
    }
    const kinds: StatementKind[] = [...outlines.values()].flat().flatMap((outline) => outline.kinds);
    return { outlines, texts, before: known, kinds: outlines.size < names.length ? [...kinds, 'unknown' as const] : kinds, changesNames };
  }
}

type ToMask = { readonly executed: ReadonlyMap<string, readonly StatementOutline[]>; readonly before: readonly Prepared[]; readonly stopping: Stopping | undefined };

function isMany({ outlines }: Prepared): boolean {
  return outlines.length > statementsPerTurnMax;
}

/** Anything else is a bug, and no refusal. */
function gateErrorOf(error: unknown): GateError {
  if (error instanceof GateError) return error;
  throw error;
}

function stopped(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

const noneExecuted: ReadonlyMap<string, readonly StatementOutline[]> = new Map();
const emptyPrepared: Prepared = {
  sql: '',
  text: '',
  isRedacted: false,
  kinds: [],
  outlines: [],
  parameterTypes: [],
  isCopyIn: false,
  nameChanges: [],
  executes: [],
};

/** A text that is too long or too deep, or whose examination was given up. */
function unexaminable(sql: string, error: unknown): Verdict {
  if (!(error instanceof GateError)) throw error;
  const start = sql.slice(0, unexaminedSqlMax);
  return refused({ ...emptyPrepared, text: sql, sql: cutAtSecret(start), isRedacted: true }, error);
}

export function refused(prepared: Prepared, error: GateError): Extract<Verdict, { ok: false }> {
  const decision = { effect: 'deny', rule: error.rule ?? error.code, reason: error.message } as const;
  return { ok: false, prepared, decision, error };
}
