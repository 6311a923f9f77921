/** The HTTP API of the record as a whole: its tree as files (C2SP tlog-tiles), its open entries, what is sealed, receipts, policies. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context, Hono } from 'hono';
import { entriesLimitMax, followSecondsMax, type Receipt, type Rotation, type SealedContent } from '../api/audit-api.ts';
import { decisionsChain } from '../audit/entry.ts';
import { hashOf } from '../audit/line.ts';
import { checkpointFile, tileWidth } from '../audit/tiles.ts';
import { GateError } from '../errors/errors.ts';
import type { Log } from '../store/log.ts';
import { findPolicy } from '../store/policy-files.ts';
import { parseTilePath, readIfThere, readPublished, readTileAt } from '../store/tile-reader.ts';
import { AuditReads } from './audit-reads.ts';
import type { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import { encodeLines } from './exchange.ts';
import type { PolicySource } from './policy-source.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sessions } from './sessions.ts';
import { addShredRoutes } from './shred-routes.ts';

/** What a reading is of, as it goes on record. */
const wholeRecord = 'open entries, and what is sealed as it is';
const openEntries = 'open entries';

const ndjson = { 'content-type': 'application/x-ndjson' };

export type AuditRoutesOptions = {
  readonly config: RelayConfig;
  readonly callers: Callers;
  readonly sessions: Sessions;
  readonly recorder: Log;
  readonly policies: PolicySource;
  readonly log: RelayLog;
  readonly isStopping: () => boolean;
};

export function addAuditRoutes(app: Hono, options: AuditRoutesOptions): void {
  const reads = new AuditReads(options.recorder, () => options.policies.current);
  addTreeRoutes(app, options, reads);
  addEntryRoutes(app, options, reads);
  addShredRoutes(app, options, reads);
  const { callers, recorder, sessions } = options;
  const caller = async (context: Context) => (await callers.authenticate(context.req.header('authorization'))).principal;

  app.get('/v1/sessions/:id/receipt', async (context) => {
    const { id } = await sessions.find(await caller(context), context.req.param('id'));
    return context.json<Receipt>(await makeReceipt(recorder, id));
  });
  app.get('/v1/policies/:digest', async (context) => {
    const principal = await caller(context);
    reads.checkKeeper(principal, 'versions of the policy are');
    await reads.record(principal, 'export', 'versions of the policy');
    const digest = context.req.param('digest');
    const text = await findPolicy(join(options.config.stateDirectory, 'policies'), digest);
    if (text === undefined) throw new GateError('not-found', `there is no policy "${digest.slice(0, 64)}" on record`);
    return context.body(text, 200, { 'content-type': 'application/yaml', 'cache-control': 'private, max-age=31536000, immutable' });
  });
}

function addTreeRoutes(app: Hono, { config, callers, recorder }: AuditRoutesOptions, reads: AuditReads): void {
  const directory = join(config.stateDirectory, 'log');
  const auditor = async (context: Context) => {
    const { principal } = await callers.authenticate(context.req.header('authorization'));
    reads.checkAuditor(principal);
    return principal;
  };
  const earlierKeys = createEarlierKeys(recorder, directory);

  app.get('/v1/log/checkpoint', async (context) => {
    const principal = await auditor(context);
    // An export begins with it, and so holds that it was made.
    if (context.req.query('for') === 'export') await reads.record(principal, 'export', openEntries);
    else await reads.record(principal, 'bundle', wholeRecord);
    // A checkpoint of now, so that whoever exports gets all that there is.
    await recorder.publish();
    const note = await readIfThere(join(directory, checkpointFile));
    if (note === undefined) throw new GateError('record-damaged', 'the checkpoint of the record is missing');
    return context.body(note.toString('utf8'), 200, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' });
  });
  app.get('/v1/log/tile/*', async (context) => {
    const principal = await auditor(context);
    const path = context.req.path.slice('/v1/log/tile/'.length);
    const id = parseTilePath(path);
    if (id === undefined) throw new GateError('not-found', 'this is not the path of a tile', { hint: 'It looks like 0/x001/234 or entries/000.p/17.' });
    // Hashes alone tell nothing.
    if (id.level === 'entries') await reads.record(principal, 'bundle', wholeRecord);
    const bytes = await readTileAt(directory, id);
    if (bytes === undefined) throw new GateError('not-found', `there is no tile ${path}`);
    // Both kinds never change; but a partial one is of no use to anybody for long.
    const cache = id.width === tileWidth ? 'private, max-age=31536000, immutable' : 'private, max-age=60, immutable';
    return context.body(new Uint8Array(bytes), 200, { 'content-type': 'application/octet-stream', 'cache-control': cache });
  });
  app.get('/v1/log/key', async (context) => {
    await callers.authenticate(context.req.header('authorization'));
    return context.text(`${[recorder.verifierKey, ...(await earlierKeys())].join('\n')}\n`);
  });
  app.get('/v1/log/rotations', async (context) => {
    await auditor(context);
    return context.json({ rotations: await readRotations(directory) });
  });
}

function addEntryRoutes(app: Hono, { config, callers, sessions, recorder, isStopping }: AuditRoutesOptions, reads: AuditReads): void {
  const directory = join(config.stateDirectory, 'log');
  const caller = async (context: Context) => (await callers.authenticate(context.req.header('authorization'))).principal;

  app.get('/v1/log/entries', async (context) => {
    const principal = await caller(context);
    reads.checkAuditor(principal);
    const from = readNumber(context, 'from', 0, Number.MAX_SAFE_INTEGER);
    const limit = Math.max(1, readNumber(context, 'limit', 1000, entriesLimitMax));
    const isFollowing = context.req.query('follow') === 'true';
    await reads.record(principal, 'export', openEntries);
    if (!isFollowing || from > recorder.publisher.published.checkpoint.size) await recorder.publish();
    if (from > recorder.publisher.published.checkpoint.size) {
      throw new GateError('usage', `the record has ${recorder.publisher.published.checkpoint.size} entries, and none from ${from} on`);
    }
    if (isFollowing) await waitForEntries(recorder, from, isStopping);
    const { size } = recorder.publisher.published.checkpoint;
    return context.body(ReadableStream.from(encodeLines(openLines(directory, from, Math.min(size, from + limit)))), 200, ndjson);
  });
  app.get('/v1/sessions/:id/sealed', async (context) => {
    const principal = await caller(context);
    reads.checkAuditor(principal);
    const name = context.req.param('id');
    const id = recorder.lastEntry(name) !== undefined ? name : (await sessions.find(principal, name)).id;
    await reads.record(principal, 'bundle', wholeRecord);
    return context.body(ReadableStream.from(encodeLines(sealedLines(recorder.sealed(id)))), 200, ndjson);
  });
}

/** Until there is an entry from this place on, or it has taken long enough. */
async function waitForEntries({ publisher }: Log, from: number, isStopping: () => boolean): Promise<void> {
  const end = performance.now() + followSecondsMax * 1000;
  while (publisher.published.checkpoint.size <= from && performance.now() < end && !isStopping()) {
    await new Promise<void>((resolve) => {
      const done = () => {
        stop();
        clearTimeout(timer);
        resolve();
      };
      const stop = publisher.onPublished(done);
      // A relay that stops must not wait for its readers.
      const timer = setTimeout(done, 1000);
    });
  }
}

async function* openLines(directory: string, from: number, to: number): AsyncGenerator<string> {
  for await (const { index, body } of readPublished(directory, from, to)) yield `{"index":${index},${body.toString('utf8', 1)}`;
}

async function* sealedLines(contents: AsyncIterable<Buffer>): AsyncGenerator<string> {
  for await (const bytes of contents) yield JSON.stringify({ sha256: hashOf(bytes), data: bytes.toString('base64') } satisfies SealedContent);
}

async function makeReceipt(log: Log, session: string): Promise<Receipt> {
  const last = log.lastEntry(session);
  if (last === undefined) throw new GateError('not-found', `session ${session} has nothing on record`);
  const { note, proof } = await log.publisher.prove(last.leaf);
  return {
    v: 1,
    session,
    index: last.leaf,
    entry: last.hash,
    checkpoint: note,
    proof: proof.map((hash) => hash.toString('base64')),
    key: log.verifierKey,
  };
}

function readNumber(context: Context, name: string, missing: number, max: number): number {
  const text = context.req.query(name) ?? String(missing);
  const number = Number(text);
  if (!/^\d{1,16}$/.test(text) || number > max) throw new GateError('usage', `${name} must be a whole number of at most ${max}`);
  return number;
}

async function readRotations(directory: string): Promise<Rotation[]> {
  const folder = join(directory, 'rotations');
  const names = (await readdir(folder).catch(() => [])).filter((name) => /^\d{1,15}$/.test(name));
  const notes = await Promise.all(names.map(async (name) => ({ size: Number(name), note: (await readIfThere(join(folder, name)))?.toString('utf8') ?? '' })));
  return notes.toSorted((one, other) => one.size - other.size);
}

/** The keys before the one of now, newest first. They are on record where the log changed hands, which happens between starts. */
function createEarlierKeys(log: Log, directory: string): () => Promise<string[]> {
  let found: Promise<string[]> | undefined;
  const find = async () => {
    if ((await readRotations(directory)).length === 0) return [];
    const keys: string[] = [];
    for await (const { event } of log.entries(decisionsChain, { isOpened: false })) {
      if (event.kind === 'key.rotate') keys.unshift(event.from);
    }
    return [...new Set(keys)].filter((key) => key !== log.verifierKey);
  };
  return () => (found ??= find().catch((error: unknown) => {
    found = undefined;
    throw error;
  }));
}
