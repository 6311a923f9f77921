/** What a connection must be, and has, before its first statement: the right user and database, a grammar, names that stay. */
import { GateError } from '../errors/errors.ts';
import { grammarFor, type Grammar } from '../sql/parser.ts';
import { parseSearchPath } from '../sql/search-path.ts';
import type { LiveSession } from './live-session.ts';
import type { Run } from './pending.ts';
import type { Upstream } from './upstream.ts';

/** A server that has reported an error has told the statement's end, and behind a FATAL one it runs nothing more. */
export function stateAtEnd(run: Run, hasSeenFatal: boolean): 'error' | 'skipped' | 'unknown' {
  if (run.sqlstate !== undefined) return 'error';
  return hasSeenFatal ? 'skipped' : 'unknown';
}

/** Fails with `not-supported` for a server whose grammar is not known. */
export function grammarOf({ parameters }: Upstream): Grammar {
  return grammarFor(Number.parseInt(parameters.get('server_version') ?? '', 10));
}

export function checkLogin(session: LiveSession, parameters: ReadonlyMap<string, string>): void {
  const user = parameters.get('user') ?? '';
  const database = parameters.get('database') ?? user;
  if (user !== session.user) {
    throw new GateError('tunnel-password', `this tunnel is for user "${session.user}", not "${user}"`, {
      hint: `Connect with -U ${session.user}.`,
    });
  }
  if (database !== session.target.database && database !== session.target.name) {
    throw new GateError('target-unknown', `this tunnel leads to database "${session.target.database}", not "${database}"`, {
      hint: `Connect with -d ${session.target.database}.`,
    });
  }
}

export function asGateError(error: unknown): GateError {
  return error instanceof GateError ? error : new GateError('internal', 'the relay failed on this connection', { cause: error });
}

/** What names mean to a masked principal must not change, so their search_path is set here once: the client's own, or the role's. */
export function maskedPath({ catalog, target }: LiveSession, asked: Readonly<Record<string, string>>): readonly string[] {
  const { search_path: path } = asked;
  const pinned = path === undefined ? catalog.defaultSearchPath : parseSearchPath(path, target.user);
  // Schemas that are not there now are left out: one that somebody makes later must not come to mean something.
  if (pinned !== undefined) return pinned.filter((schema) => catalog.current?.hasSchema(schema) === true);
  throw new GateError('upstream-unreachable', `what names stand for in the database of target ${target.name} is not known, so nothing can be masked`, {
    hint: "The relay could not read the database's catalog; its operator finds the reason in its log.",
  });
}
