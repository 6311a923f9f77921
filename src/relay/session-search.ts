/** Looks for sessions: by what the state knows of them, and by what their statements were. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SessionList } from '../api/api.ts';
import { hasStatementFilter, statementFilters, type SessionQuery } from '../api/session-query.ts';
import { GateError } from '../errors/errors.ts';
import type { Session, SessionFilter } from '../grant/grant.ts';
import type { Policy } from '../policy/policy.ts';
import { personKinds } from '../principal/behind.ts';
import type { Principal } from '../principal/principal.ts';
import type { Log } from '../store/log.ts';
import { accessOf, recordReading, seesAll, seesWhole } from './reading.ts';
import type { Sessions } from './sessions.ts';
import { StatementMatcher } from './statement-matcher.ts';

/** Sessions that one search looks at, and how long it may take. */
export const searchedMax = 10_000;
export const searchMsMax = 20_000;
/** Searches in the record at a time: each keeps a part of the process busy. */
export const searchesMax = 4;
/** Sessions that are asked for at once. */
const pageMax = 200;
/** How long a search keeps the rest of the process waiting. */
const turnMs = 10;

export type SearchOptions = {
  readonly sessions: Sessions;
  readonly recorder: Log;
  readonly policy: () => Policy;
  readonly limits?: { readonly searchedMax?: number; readonly searchMsMax?: number };
};

export class SessionSearch {
  readonly #options: SearchOptions;
  #running = 0;

  constructor(options: SearchOptions) {
    this.#options = options;
  }

  /** Newest first. One that looks into the record is itself recorded; fails with `too-many` where others do already. */
  async find(reader: Principal, query: SessionQuery & { readonly limit: number }, gone: AbortSignal): Promise<SessionList> {
    if (!hasStatementFilter(query)) return this.#collect(reader, query, gone, undefined);
    if (this.#running >= searchesMax) throw new GateError('too-many', 'too many searches are under way', { hint: 'Try again in a moment.' });
    this.#running += 1;
    try {
      const matcher = new StatementMatcher(query);
      const isWhole = seesWhole(this.#options.policy(), reader);
      const isOpened = isWhole && matcher.needsContents;
      await recordReading(this.#options.recorder, reader, { what: 'search', isOpened, detail: describe(query, (text) => this.#options.recorder.keys.digestOf(text)) });
      const list = await this.#collect(reader, query, gone, matcher);
      return { ...list, ...(!isWhole && query.text !== undefined && { isShapesOnly: true as const }) };
    } finally {
      this.#running -= 1;
    }
  }

  async #collect(reader: Principal, query: SessionQuery & { readonly limit: number }, gone: AbortSignal, matcher: StatementMatcher | undefined): Promise<SessionList> {
    const { sessions, policy, limits } = this.#options;
    const turns = new Turns(limits?.searchMsMax ?? searchMsMax, gone);
    const found: SessionList['sessions'] = [];
    let searched = 0;
    for await (const session of this.#candidates(reader, query)) {
      if (found.length >= query.limit) return { sessions: found };
      if (searched++ >= (limits?.searchedMax ?? searchedMax) || turns.isOver) return { sessions: found, isCut: true };
      await turns.take();
      const summary = sessions.summarize(session);
      if (matcher === undefined) found.push(summary);
      else {
        const isOpened = matcher.needsContents && accessOf(policy(), reader, session.grant.principal) === 'opened';
        const matches = await this.#count(session, matcher, isOpened, turns);
        if (matches > 0) found.push({ ...summary, matches });
      }
    }
    return { sessions: found, ...(turns.isOver && { isCut: true as const }) };
  }

  /** Where the time is over before the record is, as many as there were until then. */
  async #count({ id }: Session, matcher: StatementMatcher, isOpened: boolean, turns: Turns): Promise<number> {
    const { recorder } = this.#options;
    if (recorder.counts(id).connections === 0) return 0;
    const counter = matcher.counter();
    for await (const entry of recorder.entries(id, { isOpened, signal: turns.over })) {
      counter.add(entry);
      await turns.take();
      if (turns.isOver) break;
    }
    return counter.finish();
  }

  async *#candidates(reader: Principal, query: SessionQuery): AsyncGenerator<Session> {
    const { sessions, policy } = this.#options;
    const { user, human, target, role, since, until, state } = query;
    const filter: Omit<SessionFilter, 'limit' | 'after'> = {
      ...(!seesAll(policy(), reader) && { principal: reader }),
      ...(target !== undefined && { target }),
      ...(role !== undefined && { role }),
      ...(user !== undefined && { namePart: user }),
      ...(human !== undefined && { humanPart: human }),
      ...(since !== undefined && { from: new Date(since) }),
      ...(until !== undefined && { to: new Date(until) }),
      ...(state !== undefined && { isOpen: state === 'open' }),
    };
    let after: Session | undefined;
    do {
      const page: Session[] = await sessions.stored({ ...filter, ...(after && { after }), limit: pageMax });
      yield* page.filter(({ grant: { principal } }) => (user === undefined || isNamed(user, principal)) && (human === undefined || hasHuman(human, principal)));
      after = page.length === pageMax ? page.at(-1) : undefined;
    } while (after !== undefined);
  }
}

function isNamed(part: string, { name, subject }: Principal): boolean {
  return isPartOf(part, [name, subject]);
}

/** The owner, or somebody behind a machine: verified, or claimed. */
function hasHuman(part: string, principal: Principal): boolean {
  const isBehind = (principal.chain ?? []).some(({ kind, value, id = '' }) => personKinds.includes(kind) && isPartOf(part, [value, id]));
  return isBehind || (principal.kind === 'human' && isNamed(part, principal));
}

function isPartOf(part: string, texts: readonly string[]): boolean {
  return texts.some((text) => text.toLowerCase().includes(part.toLowerCase()));
}

/** What was looked for; of a text a keyed digest, as it may be what the record keeps sealed, and short enough to be guessed. */
function describe(query: SessionQuery, digestOf: (text: string) => string): string {
  const parts = Object.entries(query).flatMap(([name, value]) => {
    if (value === undefined || name === 'limit') return [];
    return name === 'text' ? [`text of HMAC-SHA-256 ${digestOf(String(value))}`] : [`${name} ${value}`];
  });
  return parts.toSorted((one, other) => rank(one) - rank(other)).join(', ');
}

function rank(part: string): number {
  return statementFilters.some((name) => part.startsWith(`${name} `)) ? 0 : 1;
}

/** Gives way to the rest of the process, and knows when the time is over. */
class Turns {
  /** Also when nobody waits for the answer any more. */
  readonly over: AbortSignal;
  readonly #end: number;
  #since = performance.now();

  constructor(ms: number, gone: AbortSignal) {
    this.over = AbortSignal.any([gone, AbortSignal.timeout(ms)]);
    this.#end = performance.now() + ms;
  }

  get isOver(): boolean {
    return performance.now() >= this.#end || this.over.aborted;
  }

  async take(): Promise<void> {
    if (performance.now() - this.#since < turnMs) return;
    await nextTurn();
    this.#since = performance.now();
  }
}
