/** Recorded history against a candidate policy: what would newly be allowed, held or denied. Pure. */
import type { AuditEntry, EventOf } from '../audit/entry.ts';
import type { Grant } from '../grant/grant.ts';
import type { StatementOutline } from '../sql/outline.ts';
import type { ParsedSql } from '../sql/parser.ts';
import type { SessionNames } from '../sql/resolve.ts';
import { decide } from './decide.ts';
import { examineParsed } from './examined.ts';
import { factsOfKinds } from './kinds-only.ts';
import { maskRulesFor } from './masks.ts';
import type { Effect, Policy } from './role.ts';

export type ReplayedStatement = {
  readonly session: string;
  readonly seq: number;
  readonly time: string;
  readonly who: string;
  readonly target: string;
  readonly role: string;
  readonly sql: string;
  readonly was: { readonly effect: Effect; readonly rule: string };
  readonly now: { readonly effect: Effect; readonly rule: string; readonly reason: string };
  /** Columns that were masked, as recorded, and those of them that the candidate would show as they are. */
  readonly masks?: { readonly was: readonly string[]; readonly shown: readonly string[] };
};

export type ReplayOptions = {
  readonly policy: Policy;
  /** Undefined for a text that the parser cannot take. */
  readonly parse: (sql: string) => ParsedSql | undefined;
  readonly names: SessionNames;
  readonly from: Date;
  readonly to: Date;
};

/** Rules by which the relay refuses before any policy is asked: another policy changes nothing about them. */
const beforePolicy = new Set(['parse', 'pinned-settings', 'execute', 'grant-expired']);

/** Follows one session in the order of its record. */
export class SessionReplay {
  readonly #options: ReplayOptions;
  #open: EventOf<'session.open'> | undefined;
  #openedAt = '';
  /** Connection → name → what SQL-level EXECUTE of it may run. */
  readonly #prepared = new Map<number, Map<string, readonly StatementOutline[]>>();

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  /** Undefined for entries that are no statements, lie outside the time, or were never for a policy to decide. */
  next(entry: AuditEntry): ReplayedStatement | undefined {
    const { event, time } = entry;
    if (event.kind === 'session.open') {
      this.#open = event;
      this.#openedAt = time;
    }
    if (event.kind !== 'statement' || this.#open === undefined) return undefined;
    const facts = this.#factsOf(event);
    const at = new Date(time);
    if (facts === undefined || at < this.#options.from || at >= this.#options.to) return undefined;
    const { policy } = this.#options;
    const open = this.#open;
    const decision = decide({ facts, grant: grantOf(open, this.#openedAt), target: { name: open.target }, policy, now: at });
    return {
      session: entry.session,
      seq: entry.seq,
      time,
      who: open.who.name,
      target: open.target,
      role: open.role,
      sql: event.sql,
      // What was approved or turned down by people had been held by the policy.
      was: { effect: event.request === undefined ? event.effect : 'hold', rule: event.rule },
      now: { effect: decision.effect, rule: decision.rule, reason: decision.reason },
      ...this.#masksOf(event, open, at),
    };
  }

  /** Columns that only the candidate masks cannot be told: the record says which were masked, not which were read. */
  #masksOf({ masked = [] }: EventOf<'statement'>, { who, target, role }: EventOf<'session.open'>, now: Date): Pick<ReplayedStatement, 'masks'> {
    if (masked.length === 0) return {};
    const { rules } = maskRulesFor(this.#options.policy, { target, role, principal: who, now });
    const isMasked = (column: string) => {
      const [schema = '', relation = '', name = ''] = column.split('.');
      return (rules.find((rule) => rule.covers(schema, relation, name))?.mask.kind ?? 'clear') !== 'clear';
    };
    const was = masked.map(({ column }) => column);
    return { masks: { was, shown: was.filter((column) => !isMasked(column)) } };
  }

  #factsOf(event: EventOf<'statement'>) {
    if (event.effect === 'deny' && beforePolicy.has(event.rule)) return undefined;
    const parsed = this.#options.parse(event.sql);
    let prepared = this.#prepared.get(event.connection);
    if (prepared === undefined) this.#prepared.set(event.connection, (prepared = new Map()));
    // The text may have been recorded without its secrets, or run what was prepared through the protocol.
    const recorded = factsOfKinds(event.kinds.map((kind) => (isKind(kind) ? kind : 'unknown')));
    if (parsed?.ok !== true) return recorded;
    const examined = examineParsed(parsed, { ...this.#options.names, prepared });
    const isKnown = parsed.statement.executes.every((name) => prepared.has(name) || preparesItself(parsed, name));
    if (event.effect === 'allow') followNames(parsed, prepared);
    return examined.ok && isKnown ? examined.facts : recorded;
  }
}

function preparesItself(parsed: Extract<ParsedSql, { ok: true }>, name: string): boolean {
  return parsed.statement.nameChanges.some((change) => change.tag === 'PREPARE' && change.name === name);
}

function followNames({ statement }: Extract<ParsedSql, { ok: true }>, prepared: Map<string, readonly StatementOutline[]>): void {
  for (const change of statement.nameChanges) {
    if (change.tag === 'PREPARE') prepared.set(change.name, [change.outline]);
    else if (change.tag === 'DEALLOCATE') prepared.delete(change.name);
    else prepared.clear();
  }
}

function isKind(kind: string): kind is 'read' | 'write' | 'schema' | 'admin' | 'unknown' {
  return ['read', 'write', 'schema', 'admin', 'unknown'].includes(kind);
}

function grantOf({ grant, who, target, role, reason, ticket, expiresAt }: EventOf<'session.open'>, openedAt: string): Grant {
  return {
    id: grant,
    principal: who,
    target,
    role,
    createdAt: new Date(openedAt),
    expiresAt: new Date(expiresAt),
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
  };
}

export function isChange({ was, now, masks }: ReplayedStatement): boolean {
  return was.effect !== now.effect || (masks !== undefined && masks.shown.length > 0);
}
