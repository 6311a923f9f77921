/** What GET /v1/sessions may be asked for: its query parameters, checked, and written for the way there. */
import * as z from 'zod/mini';
import { StatementKind } from './api.ts';

const part = z.string().check(z.minLength(1), z.maxLength(200));
const time = z.iso.datetime({ offset: true, error: 'must be a time as in RFC 3339, like 2026-05-04T10:00:00Z' });
/** As in policy patterns. */
const segment = String.raw`(?:\*|[^.*\s"?]+)`;

/**
 * All of it must be met. `text`, `kind`, `effect`, `sqlstate` and `table` are about statements: a session is listed
 * that has one which meets all of them, within `since` and `until`.
 */
export const SessionQuery = z.strictObject({
  /** Part of the name or subject, in either case; `human`: of humans, and of those in the chain behind machines. */
  user: z.optional(part),
  human: z.optional(part),
  target: z.optional(part),
  role: z.optional(part),
  /** Open at this moment or later, and begun at this one or earlier. */
  since: z.optional(time),
  until: z.optional(time),
  state: z.optional(z.enum(['open', 'ended'], 'must be open or ended')),
  /** Part of the SQL text, in either case. */
  text: z.optional(z.string().check(z.minLength(1), z.maxLength(1000))),
  kind: z.optional(StatementKind),
  /** `hold`: it was held, whatever became of it. */
  effect: z.optional(z.enum(['allow', 'deny', 'hold'], 'must be allow, deny or hold')),
  sqlstate: z.optional(z.string().check(z.regex(/^[0-9A-Z]{5}$/, 'must be five digits and capital letters, like 42P01'))),
  table: z.optional(
    z.string().check(z.maxLength(200), z.regex(new RegExp(`^(?:\\*|${segment}\\.${segment})$`), 'must be schema.table, as in public.users; * stands for a whole segment')),
  ),
  limit: z.optional(z.string()),
});
export type SessionQuery = Omit<z.infer<typeof SessionQuery>, 'limit'> & { limit?: number };

/** That look into the record of each session. */
export const statementFilters = ['text', 'kind', 'effect', 'sqlstate', 'table'] as const;

export function hasStatementFilter(query: SessionQuery): boolean {
  return statementFilters.some((name) => query[name] !== undefined);
}

/** With the question mark; empty for a query that asks for nothing. */
export function formatSessionQuery(query: SessionQuery): string {
  const given = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as [string, string]]));
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
}
