/** The HTTP API of sessions: opened, listed, shown with their record, ended. */
import type { Context, Hono } from 'hono';
import { SessionRequest } from '../api/api.ts';
import { decisionsChain, type AuditEntry } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { isAuditor } from '../policy/decide.ts';
import type { Log } from '../store/log.ts';
import type { Callers } from './callers.ts';
import { errorBody, readBody, readLimit } from './exchange.ts';
import type { PolicySource } from './policy-source.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sessions } from './sessions.ts';

const listLimitMax = 1000;

export type SessionRoutesOptions = {
  readonly callers: Callers;
  readonly sessions: Sessions;
  readonly recorder: Log;
  readonly policies: PolicySource;
  readonly log: RelayLog;
};

export function addSessionRoutes(app: Hono, { callers, sessions, recorder, policies, log }: SessionRoutesOptions): void {
  const caller = (context: Context) => callers.authenticate(context.req.header('authorization'));

  app.post('/v1/sessions', async (context) => {
    const { principal } = await caller(context);
    const session = await sessions.open(principal, await readBody(context, SessionRequest));
    log.info({ session: session.id, grant: session.grant, subject: principal.subject }, 'session opened');
    return context.json(session, 201);
  });
  app.get('/v1/sessions', async (context) => {
    const { principal } = await caller(context);
    return context.json({ sessions: await sessions.list(principal, readLimit(context, listLimitMax)) });
  });
  app.get('/v1/sessions/:id', async (context) => {
    const { principal } = await caller(context);
    return context.json(await sessions.find(principal, context.req.param('id')));
  });
  app.get('/v1/sessions/:id/entries', async (context) => {
    const { principal } = await caller(context);
    const { id } = await sessions.find(principal, context.req.param('id'));
    // A reader must never take a part for the whole: what is damaged is said in the last line, a bug breaks the answer off.
    return context.body(ReadableStream.from(encodeEntries(recorder.entries(id))), 200, {
      'content-type': 'application/x-ndjson',
    });
  });
  app.get('/v1/decisions', async (context) => {
    const { principal } = await caller(context);
    if (!isAuditor(policies.current, principal)) {
      throw new GateError('denied', 'what was decided is for auditors to read', { rule: 'auditors', hint: 'Your own requests are in gate requests list --mine.' });
    }
    return context.body(ReadableStream.from(encodeEntries(recorder.entries(decisionsChain))), 200, {
      'content-type': 'application/x-ndjson',
    });
  });
  app.post('/v1/sessions/:id/end', async (context) => {
    const { principal } = await caller(context);
    const live = await sessions.forTunnel(principal, context.req.param('id'));
    await sessions.end(live.id, new GateError('session-ended', 'ended by its owner'));
    return context.body(null, 204);
  });
}

async function* encodeEntries(entries: AsyncIterable<AuditEntry>): AsyncGenerator<Uint8Array> {
  try {
    for await (const entry of entries) yield Buffer.from(`${JSON.stringify(entry)}\n`);
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    yield Buffer.from(`${JSON.stringify(errorBody(error))}\n`);
  }
}
