/** gate sessions tail: what happens in sessions, as it happens. */
import { Command } from 'commander';
import type { AuditEntry } from '../../../audit/entry.ts';
import type { RelayClient } from '../../../client/relay-client.ts';
import { GateError } from '../../../errors/errors.ts';
import { nameOf } from '../../../principal/behind.ts';
import type { Context } from '../../context.ts';
import { oneLine } from '../../output.ts';
import { createStyle } from '../../transcript-style.ts';
import { untilStopped } from '../../until-stopped.ts';

export function tailCommand(context: Context): Command {
  return new Command('tail')
    .summary('follow sessions as they go on')
    .description(
      'Prints what happens in sessions within a second, one line per event: of the named ones from their beginning to their ' +
        'end, or of all that you may see from now on, until Ctrl-C.',
    )
    .argument('[session...]', 'ids, or as much of the beginning as no other session shares')
    .action((ids: string[]) => runSessionsTail(context, ids));
}

/** Under `--json` the entries as NDJSON. Ends when the named sessions have; fails when the relay stops, or 130 on Ctrl-C. */
export async function runSessionsTail(context: Context, ids: readonly string[]): Promise<void> {
  const relay = await context.relay();
  const stop = context.stopSignal();
  const finished = new AbortController();
  const signal = AbortSignal.any([stop, finished.signal]);
  const users = new Users(relay);
  const named = new Map((await Promise.all(ids.map((id) => relay.session(id)))).map(({ id, principal }) => [id, nameOf(principal)]));
  for (const [id, name] of named) users.set(id, name);
  const print = await createPrinter(context, users);
  const follow = async (entries: AsyncIterable<AuditEntry>) => {
    for await (const entry of entries) await print(entry);
  };
  if (named.size === 0) context.io.say('What happens from now on in all sessions that you may see. Ctrl-C ends it.');
  const work = named.size === 0 ? [follow(relay.followAll(signal))] : [...named.keys()].map((id) => follow(toItsEnd(relay.follow(id, signal), id)));
  try {
    await untilStopped(Promise.all(work).then(() => undefined), stop);
  } finally {
    finished.abort();
  }
}

/** Fails with `record-damaged` where an entry is missing, or the record stops before the session does. */
async function* toItsEnd(entries: AsyncIterable<AuditEntry>, id: string): AsyncGenerator<AuditEntry> {
  let last: AuditEntry | undefined;
  for await (const entry of entries) {
    if (entry.seq !== (last?.seq ?? 0) + 1) throw damaged(id, `entry ${entry.seq} follows entry ${last?.seq ?? 0}`);
    last = entry;
    yield entry;
  }
  if (last?.event.kind !== 'session.close') throw damaged(id, `it stops after entry ${last?.seq ?? 0} without the end of the session`);
}

function damaged(id: string, problem: string): GateError {
  return new GateError('record-damaged', `the record of ${id} is not whole: ${problem}`, {
    hint: 'Whoever runs the relay should look at its log and its state directory.',
  });
}

async function createPrinter({ io }: Context, users: Users): Promise<(entry: AuditEntry) => Promise<void>> {
  if (io.json) return (entry) => io.writeJson(entry);
  const [{ describeEvent }, style] = await Promise.all([import('../../../audit/event-words.ts'), createStyle(io)]);
  return async (entry) => {
    const [kind, text] = describeEvent(entry.event);
    const where = style('label', `${oneLine(entry.session)} ${oneLine(await users.of(entry))}`);
    await io.write(`${where}  ${style('time', oneLine(entry.time.slice(11, 23)))}  ${style(kind, text)}\n`);
  };
}

/** Whose sessions they are: their first entry says so, or else the relay. */
class Users {
  readonly #relay: Pick<RelayClient, 'session'>;
  readonly #names = new Map<string, string>();

  constructor(relay: Pick<RelayClient, 'session'>) {
    this.#relay = relay;
  }

  set(session: string, name: string): void {
    this.#names.set(session, name);
  }

  async of({ session, event }: AuditEntry): Promise<string> {
    const name = this.#names.get(session) ?? (event.kind === 'session.open' ? nameOf(event.who) : await this.#ask(session));
    if (event.kind === 'session.close') this.#names.delete(session);
    else this.#names.set(session, name);
    return name;
  }

  async #ask(session: string): Promise<string> {
    const found = await this.#relay.session(session).catch(() => undefined);
    return found === undefined ? '?' : nameOf(found.principal);
  }
}
