/** What a text or a prepared name means in this session, and whether it may run now. */
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import { decide, type Decision } from '../policy/decide.ts';
import { factsOfKinds } from '../policy/kinds-only.ts';
import type { Policy } from '../policy/policy.ts';
import type { StatementKind } from '../sql/kind.ts';
import type { ParsedSql } from '../sql/parser.ts';
import { cutAtSecret } from '../sql/secrets.ts';
import type { StatementParser } from './parsing.ts';
import type { Pending, Portal, Prepared } from './pending.ts';

/** A decision with what is recorded of the statement; a refusal carries the error that the client gets. */
export type Verdict =
  | { readonly ok: true; readonly prepared: Prepared; readonly decision: Decision }
  | {
      readonly ok: false;
      readonly prepared: Prepared;
      readonly decision: Decision;
      readonly error: GateError;
      readonly position?: number;
    };

export type GatekeeperOptions = {
  readonly grant: Grant;
  readonly policy: () => Policy;
  readonly parser: StatementParser;
  readonly pending: Pending;
};

/** Of a text that could not be examined this much is recorded. */
const unexaminedSqlMax = 2000;

export class Gatekeeper {
  readonly #options: GatekeeperOptions;

  constructor(options: GatekeeperOptions) {
    this.#options = options;
  }

  /** Decides on a whole text before any of it is sent. A wait ends with what `stopped` rejects with. */
  async examine(sql: string, segment: number, stopped: () => Promise<never>): Promise<Verdict> {
    let parsed: ParsedSql;
    try {
      const parsing = this.#options.parser.parse(sql);
      parsed = parsing instanceof Promise ? await Promise.race([parsing, stopped()]) : parsing;
    } catch (error) {
      if (!(error instanceof GateError)) throw error;
      const start = sql.slice(0, unexaminedSqlMax);
      return refused({ ...emptyPrepared, sql: cutAtSecret(start), isRedacted: true }, error);
    }
    const base = { ...emptyPrepared, sql: parsed.recordedSql, isRedacted: parsed.isRedacted };
    if (!parsed.ok) {
      const error = new GateError('sql-error', parsed.message, { rule: 'parse' });
      return { ...refused(base, error), ...(parsed.position !== undefined && { position: parsed.position }) };
    }
    const { statement } = parsed;
    const { isCopyIn, nameChanges, executes } = statement;
    const executed = await this.#executed(executes, segment, nameChanges);
    const kinds = [...new Set([...statement.kinds, ...executed.kinds])];
    const prepared = { ...base, kinds, isCopyIn, nameChanges, executes };
    if (executed.changesNames) return refused(prepared, hiddenNameChange());
    if (statement.pinnedSetting !== undefined) return refused(prepared, pinned(statement.pinnedSetting));
    return this.decide(prepared);
  }

  /** Decides on a statement that was examined before, as things are now. */
  decide(prepared: Prepared): Verdict {
    const { grant, policy } = this.#options;
    const decision = decide({
      facts: factsOfKinds(prepared.kinds),
      grant,
      target: { name: grant.target },
      policy: policy(),
      now: new Date(),
    });
    if (decision.effect === 'allow') return { ok: true, prepared, decision };
    const error = new GateError('denied', decision.reason, {
      rule: decision.rule,
      hint: 'See gate targets for other roles, or ask whoever keeps the policy.',
    });
    return { ok: false, prepared, decision, error };
  }

  async findStatement(name: string, segment: number): Promise<Prepared> {
    const found = await this.#find(() => this.#options.pending.statements.find(name, segment));
    if (found !== undefined) return found;
    throw new GateError('statement-unknown', `prepared statement "${name}" does not exist`);
  }

  /** Undefined for a portal that the protocol did not make: it is a cursor declared in SQL, or not there. */
  async lookUpPortal(name: string, segment: number): Promise<Portal | undefined> {
    return this.#find(() => this.#options.pending.portals.find(name, segment));
  }

  async findPortal(name: string, segment: number): Promise<Portal> {
    const found = await this.lookUpPortal(name, segment);
    if (found !== undefined) return found;
    throw new GateError('portal-unknown', `portal "${name}" does not exist`, {
      hint: 'A cursor that was declared in SQL is read with FETCH.',
    });
  }

  async #find<T>(lookUp: () => { readonly value: T | undefined } | 'wait'): Promise<T | undefined> {
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

  /** Decides again on a statement that is about to run: what its EXECUTE stands for may be another by now. */
  async decideToRun(prepared: Prepared, segment: number): Promise<Verdict> {
    if (prepared.executes.length === 0) return this.decide(prepared);
    const executed = await this.#executed(prepared.executes, segment, prepared.nameChanges);
    const now = { ...prepared, kinds: [...new Set([...prepared.kinds, ...executed.kinds])] };
    return executed.changesNames ? refused(now, hiddenNameChange()) : this.decide(now);
  }

  /**
   * EXECUTE runs what was prepared: by SQL earlier in this text or session, or through the protocol. Only a statement
   * of the protocol can itself change names, or run yet another one.
   */
  async #executed(names: readonly string[], segment: number, inText: Prepared['nameChanges']) {
    const kinds: StatementKind[] = [];
    let changesNames = false;
    for (const name of names) {
      const own = inText.flatMap((change) => (change.tag === 'PREPARE' && change.name === name ? change.kinds : []));
      const before = await this.#find(() => this.#options.pending.statements.find(name, segment));
      if (before !== undefined && (before.nameChanges.length > 0 || before.executes.length > 0)) changesNames = true;
      const known = [...own, ...(before?.kinds ?? [])];
      kinds.push(...(known.length > 0 || before !== undefined ? known : (['unknown'] as const)));
    }
    return { kinds, changesNames };
  }
}

const emptyPrepared: Prepared = { sql: '', isRedacted: false, kinds: [], isCopyIn: false, nameChanges: [], executes: [] };

function refused(prepared: Prepared, error: GateError): Extract<Verdict, { ok: false }> {
  const decision = { effect: 'deny', rule: error.rule ?? error.code, reason: error.message } as const;
  return { ok: false, prepared, decision, error };
}

/** The relay would lose track of what names mean. */
function hiddenNameChange(): GateError {
  return new GateError('denied', 'EXECUTE of a statement that itself prepares, deallocates or executes is not supported', {
    rule: 'execute',
    hint: 'Send that statement itself.',
  });
}

function pinned(setting: string): GateError {
  return new GateError('denied', `the setting ${setting} cannot be changed in this session`, {
    rule: 'pinned-settings',
    hint: 'It decides how the server reads SQL text, which must be exactly as the relay reads it.',
  });
}
