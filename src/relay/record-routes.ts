/** The HTTP API of the record: the entries of sessions as they stand and as they come, and what was decided beside them. */
import type { Context, Hono } from 'hono';
import { decisionsChain } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { isAuditor } from '../policy/decide.ts';
import type { Log } from '../store/log.ts';
import type { Callers } from './callers.ts';
import { encodeLines, isSet } from './exchange.ts';
import type { PolicySource } from './policy-source.ts';
import { accessOf, recordReading, seesWhole } from './reading.ts';
import { SessionTails, type Beat } from './session-tail.ts';
import type { Sessions } from './sessions.ts';

export type RecordRoutesOptions = {
  readonly callers: Callers;
  readonly sessions: Sessions;
  readonly recorder: Log;
  readonly policies: PolicySource;
};

export function addRecordRoutes(app: Hono, { callers, sessions, recorder, policies }: RecordRoutesOptions): void {
  const policy = () => policies.current;
  const tails = new SessionTails({ recorder, policy, ownerOf: (id) => sessions.ownerOf(id), stopping: sessions.stopping });
  const caller = (context: Context) => callers.authenticate(context.req.header('authorization'));

  // All sessions from now on; with an empty line now and then, so that both ends see that the other is there.
  app.get('/v1/sessions/tail', async (context) => {
    const { principal } = await caller(context);
    tails.checkRoom(principal);
    await recordReading(recorder, principal, { what: 'tail', isOpened: seesWhole(policy(), principal) });
    return sendEntries(context, tails.all(principal, context.req.raw.signal));
  });
  app.get('/v1/sessions/:id/entries', async (context) => {
    const { principal } = await caller(context);
    const follow = isSet(context, 'follow');
    const { id, principal: owner, state } = await sessions.find(principal, context.req.param('id'));
    const isOpened = accessOf(policy(), principal, owner) === 'opened';
    if (follow) tails.checkRoom(principal);
    await recordReading(recorder, principal, { what: follow ? 'tail' : 'replay', session: id, isOpened });
    const session = { id, owner, hasEnded: state === 'ended' };
    return sendEntries(context, follow ? tails.one(principal, session, context.req.raw.signal) : recorder.entries(id, { isOpened }));
  });
  app.get('/v1/decisions', async (context) => {
    const { principal } = await caller(context);
    if (!isAuditor(policy(), principal)) {
      throw new GateError('denied', 'what was decided is for auditors to read', { rule: 'auditors', hint: 'Your own requests are in gate requests list --mine.' });
    }
    await recordReading(recorder, principal, { what: 'decisions', isOpened: true });
    return sendEntries(context, recorder.entries(decisionsChain));
  });
}

function sendEntries(context: Context, entries: AsyncIterable<Beat>): Response {
  return context.body(ReadableStream.from(encodeLines(linesOf(entries))), 200, { 'content-type': 'application/x-ndjson' });
}

async function* linesOf(entries: AsyncIterable<Beat>): AsyncGenerator<string> {
  for await (const entry of entries) yield entry === undefined ? '' : JSON.stringify(entry);
}
