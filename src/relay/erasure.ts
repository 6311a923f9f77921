/** The end of the data keys of sessions: by two administrators or because their time is over, unless a legal hold is set. */
import { decisionsChain, type EventOf } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { isSamePrincipal, type Principal } from '../principal/principal.ts';
import type { Log } from '../store/log.ts';
import { who } from './request-events.ts';
import { keyClasses, type KeyFile, type KeyPerson } from '../store/session-keys.ts';

/** How long the word of the first of two counts. */
export const shredRequestHours = 24;

export type ShredState = { readonly state: 'requested'; readonly by: KeyPerson; readonly at: string } | { readonly state: 'shredded' };

type Shredding = NonNullable<KeyFile['shredding']>;

export class Erasure {
  readonly #log: Log;
  readonly #now: () => Date;

  constructor(log: Log, now: () => Date = () => new Date()) {
    this.#log = log;
    this.#now = now;
  }

  /**
   * One of the two who it takes. Fails with `not-found`, with `denied` for the same person again or under a legal hold,
   * and with `usage` while the session is open.
   */
  shred(session: string, principal: Principal, reason: string): Promise<ShredState> {
    return this.#log.keys.inTurn(async () => {
      if (principal.kind !== 'human') {
        throw new GateError('denied', `only people shred, and ${principal.name} is ${principal.kind === 'agent' ? 'an agent' : 'a workload'}`, { rule: 'two-people' });
      }
      const file = await this.#find(session);
      if (Object.keys(file.wrapped).length === 0) return { state: 'shredded' };
      const first = this.#standing(file);
      const by = who(principal);
      if (first === undefined) return this.#request(session, by, reason);
      if (isSamePrincipal(first.by, principal)) {
        throw new GateError('denied', `you asked for this at ${first.at}; a second person has to ask for it too`, {
          rule: 'two-people',
          hint: `Another administrator runs: gate audit shred ${session} --reason "…"`,
        });
      }
      const why = first.reason === reason ? reason : `${first.reason}; ${reason}`;
      await shredNow(this.#log, session, { classes: classesOf(file), by: [first.by, by], reason: why });
      return { state: 'shredded' };
    });
  }

  async #request(session: string, by: KeyPerson, reason: string): Promise<ShredState> {
    const at = this.#now().toISOString();
    await this.#log.record(decisionsChain, [{ kind: 'shred.request', session, by, reason }]);
    await this.#log.keys.mark(session, { shredRequest: { by, at, reason } });
    return { state: 'requested', by, at };
  }

  #standing({ shredRequest }: KeyFile): KeyFile['shredRequest'] {
    if (shredRequest === undefined) return undefined;
    const ageMs = this.#now().getTime() - Date.parse(shredRequest.at);
    return ageMs < shredRequestHours * 3_600_000 ? shredRequest : undefined;
  }

  async #find(session: string): Promise<KeyFile> {
    const file = session === decisionsChain ? undefined : await this.#log.keys.load(session);
    if (file === undefined) throw noSession(session);
    if (this.#log.openSessions().includes(session)) {
      throw new GateError('usage', `session ${session} is open`, { hint: 'End it first; what it seals needs its keys.' });
    }
    if (file.hold !== undefined) {
      throw new GateError('denied', `a legal hold by ${file.hold.by.name} keeps session ${session}: ${file.hold.reason}`, {
        rule: 'legal-hold',
        hint: `It is lifted with: gate audit release ${session} --reason "…"`,
      });
    }
    return file;
  }

  /** Fails with `not-found`, and with `usage` for a session that has no keys left to hold. */
  hold(session: string, principal: Principal, { isSet, reason }: { readonly isSet: boolean; readonly reason: string }): Promise<void> {
    const { keys } = this.#log;
    return keys.inTurn(async () => {
      const file = session === decisionsChain ? undefined : await keys.load(session);
      if (file === undefined) throw noSession(session);
      if (isSet && (Object.keys(file.wrapped).length === 0 || file.shredding !== undefined)) {
        throw new GateError('usage', `the keys of session ${session} are gone already`);
      }
      const by = who(principal);
      const entry: EventOf<'legal.hold'> = { kind: 'legal.hold', session, by, isSet, reason };
      const mark = isSet ? { by, at: this.#now().toISOString(), reason } : undefined;
      // A hold counts before it is on record, and until its end is: so no moment is without one.
      if (mark !== undefined) await keys.mark(session, { hold: mark });
      try {
        await this.#log.record(decisionsChain, [entry]);
      } catch (error) {
        if (isSet) await keys.mark(session, { hold: file.hold }).catch(() => undefined);
        throw error;
      }
      if (mark === undefined) await keys.mark(session, { hold: undefined });
    });
  }
}

/** The classes of which the session still has keys. */
export function classesOf({ wrapped }: KeyFile): Shredding['classes'] {
  return keyClasses.filter((one) => wrapped[one] !== undefined);
}

/** On record first, then gone. The caller has the turn. */
export async function shredNow(log: Log, session: string, shredding: Shredding): Promise<void> {
  await log.keys.mark(session, { shredding });
  try {
    await log.record(decisionsChain, [{ kind: 'key.shred', session, ...shredding }]);
  } catch (error) {
    await log.keys.mark(session, { shredding: undefined }).catch(() => undefined);
    throw error;
  }
  await log.keys.shred(session, shredding.classes);
}

/** Finishes at the start of a relay what a crash has cut short. A file of keys that is damaged is for retention to tell of. */
export async function finishShredding(log: Log): Promise<void> {
  const marked: { readonly session: string; readonly shredding: Shredding }[] = [];
  try {
    for await (const { session, shredding } of log.keys.all()) if (shredding !== undefined) marked.push({ session, shredding });
  } catch (error) {
    if (!(error instanceof GateError) || error.code !== 'record-damaged') throw error;
  }
  if (marked.length === 0) return;
  const onRecord = new Set<string>();
  for await (const { event } of log.entries(decisionsChain, { isOpened: false })) {
    if (event.kind === 'key.shred') onRecord.add(keyOf(event.session, event.classes));
  }
  await log.keys.inTurn(async () => {
    for (const { session, shredding } of marked) {
      if (onRecord.has(keyOf(session, shredding.classes))) await log.keys.shred(session, shredding.classes);
      else await shredNow(log, session, shredding);
    }
  });
}

function keyOf(session: string, classes: readonly string[]): string {
  return `${session} ${classes.toSorted().join()}`;
}

function noSession(session: string): GateError {
  return new GateError('not-found', `there is no session "${session}" on record`, { hint: 'Give its whole id, as gate sessions list shows it.' });
}
