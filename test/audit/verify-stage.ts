/** Records to verify, in memory: a real log read back, bundles made of it, and forgers with and without the key. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { expect } from 'vitest';
import { cosign, formatCheckpoint, formatNote, formatVerifierKey, parseCheckpoint, parseNote, signingKey, signNote, type SigningKey } from '../../src/audit/checkpoint.ts';
import type { Event } from '../../src/audit/entry.ts';
import { frameEntry, frameSealed, hashOf, parseBody, parseStored, unframeLine } from '../../src/audit/line.ts';
import { formatSegmentHeader } from '../../src/audit/segment.ts';
import { encodeBundle, tileHeight, tilePath, tilesOf, tileWidth } from '../../src/audit/tiles.ts';
import { inclusionProof, leafHash, rootOf, TreeEdge } from '../../src/audit/tree.ts';
import { verifyRecord, type VerifyInput } from '../../src/audit/verify.ts';
import type { Report } from '../../src/audit/verify-report.ts';
import type { Evidence } from '../../src/audit/verify-source.ts';
import { openLog, type Log } from '../../src/store/log.ts';
import { SessionKeys } from '../../src/store/session-keys.ts';
import { connectionOpen, outcome, sessionClose, sessionOpen, statement } from '../store/recorded-events.ts';

type AloneReport = { readonly exitCode: number; readonly findings: readonly { readonly severity: string; readonly message: string }[] };
type Alone = { verifyRecord(files: object, options: object): AloneReport };

/** The verifier that readers get. It is not part of the program, so nothing declares its types. */
const alone = (await import(join(import.meta.dirname, '../../docs/audit-verify.mjs'))) as Alone;

export const origin = 'gate.example.com/test';
export const key = signingKey(origin, Buffer.alloc(32, 1));
export const nextKey = signingKey(origin, Buffer.alloc(32, 2));
export const witness = signingKey('witness.example.com', Buffer.alloc(32, 3), 'cosignature/v1');
export const vkey = formatVerifierKey(key);

/** A directory as a map of paths. */
export class Files {
  readonly #listing = new Map<string, Map<string, boolean>>();

  constructor(readonly all: ReadonlyMap<string, Buffer>) {
    for (const path of all.keys()) {
      const names = path.split('/');
      for (const [place, name] of names.entries()) {
        const folder = names.slice(0, place).join('/');
        const list = this.#listing.get(folder) ?? new Map<string, boolean>();
        this.#listing.set(folder, list.set(name, place < names.length - 1));
      }
    }
  }

  list(path: string): { name: string; isDirectory: boolean }[] {
    return [...(this.#listing.get(path) ?? [])].map(([name, isDirectory]) => ({ name, isDirectory }));
  }

  get(path: string): Buffer {
    return this.all.get(path) ?? expect.fail(`${path} is not there`);
  }

  with(changes: Readonly<Record<string, Buffer | undefined>>): Files {
    const all = new Map(this.all);
    for (const [path, bytes] of Object.entries(changes)) {
      if (bytes === undefined) all.delete(path);
      else all.set(path, bytes);
    }
    return new Files(all);
  }
}

/** What is read, with other bytes in the place of one file. */
export function evidenceOf(files: Files, changed?: { path: string; bytes: Buffer }) {
  const read = (path: string, max: number) => (path === changed?.path ? changed.bytes : files.all.get(path))?.subarray(0, max);
  const evidence: Evidence = {
    read: async (path, max) => read(path, max + 1),
    async *stream(path) {
      const bytes = read(path, Infinity);
      if (bytes !== undefined) yield bytes;
    },
    list: async (path) => files.list(path),
  };
  return { evidence, plain: { read, list: (path: string) => files.list(path) } };
}

export type Options = Omit<Partial<VerifyInput>, 'evidence'>;

/** Runs both verifiers, which must agree. */
export async function verifyBoth(files: Files, options: Options = {}, changed?: { path: string; bytes: Buffer }): Promise<Report> {
  const { evidence, plain } = evidenceOf(files, changed);
  const full = { keys: [vkey], ...options };
  const report = await verifyRecord({ evidence, ...full });
  const other = alone.verifyRecord(plain, full);
  if (other.exitCode !== report.exitCode) {
    expect.fail(`the verifiers differ, ${report.exitCode} and ${other.exitCode}, on ${changed?.path ?? 'the whole'}:\n${JSON.stringify([report.findings.slice(0, 5), other.findings.slice(0, 5)], null, 1)}`);
  }
  return report;
}

export function readFiles(directory: string): Files {
  const all = new Map<string, Buffer>();
  const visit = (path: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) visit(child);
      else all.set(relative(directory, child), readFileSync(child));
    }
  };
  visit(directory);
  return new Files(all);
}

export async function writeFiles(directory: string, files: Files): Promise<void> {
  for (const [path, bytes] of files.all) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
}

export async function openTestLog(state: string, signer: SigningKey = key, segmentBytesMax = 2500): Promise<Log> {
  const keys = await SessionKeys.open(join(state, 'keys'), Buffer.alloc(32, 9));
  return openLog(join(state, 'log'), { secrets: { key: signer, keys }, segmentBytesMax });
}

const who = { issuer: 'https://id.example.com', subject: 'u1', kind: 'human' as const, name: 'Erin', groups: ['engineering'] };
export const grant: Event = { kind: 'grant', grant: 'g1', who, target: 'prod-db', role: 'reader', expiresAt: '2026-11-02T11:00:00.000Z', policy: 'ab'.repeat(32) };
export const connectionClose: Event = { kind: 'connection.close', connection: 1, reason: 'done', bytesIn: 1, bytesOut: 2 };

/** One of each: allowed, refused, held, with rows, ended in the dark. */
export function eventsOfSession(session: string): Event[] {
  return [
    sessionOpen,
    connectionOpen(),
    statement(1, `select '${session}'`),
    { kind: 'result', connection: 1, statement: 1, columns: [{ name: 'a', type: 25 }], rows: [[session]] },
    outcome(1),
    statement(2, 'drop table t', 'deny'),
    { kind: 'hold', connection: 1, request: 'rq_1', sql: 'delete from t', kinds: ['write'], rule: 'r', reason: 'all rows', expiresAt: '2026-11-02T11:00:00.000Z' },
    statement(3, 'delete from t'),
    { ...outcome(3), state: 'unknown' } as Event,
    connectionClose,
    sessionClose,
  ];
}

/** A held statement's request: it stands beside the sessions, sealed with the key of its own. */
export function heldRequest(session: string): Event {
  return {
    kind: 'request', request: 'rq_1', of: 'statement', who, target: 'prod-db', role: 'reader', rule: 'r', by: ['group:dba'], count: 1, expiresAt: '2026-11-02T11:00:00.000Z',
    statement: { session }, fingerprint: 'f1', parameterHash: 'b2', sql: 'delete from t',
  };
}

/** As little as has an entry of each form, in two segments. */
export async function makeSmallLog(state: string): Promise<Files> {
  const log = await openTestLog(state, key, 1800);
  await log.record('decisions', [grant]);
  await log.record('s_1', [sessionOpen]);
  await log.record('s_1', [statement(1)]);
  await log.record('s_1', [outcome(1)]);
  await log.record('s_1', [statement(2, 'drop table t', 'deny'), sessionClose]);
  await log.close();
  return readFiles(join(state, 'log'));
}

export type Big = {
  readonly log: Files;
  /** What others have kept: a checkpoint from the time before the rotation. */
  readonly early: Buffer;
};

/** More than one full tile, sessions side by side, a shredded one, and a rotation of the key midway. */
export async function makeBigLog(state: string): Promise<Big> {
  const directory = join(state, 'log');
  let log = await openTestLog(state, key, 40_000);
  await log.record('decisions', [{ kind: 'relay.start', relayVersion: '0.1.0', after: 'nothing' }, grant]);
  await recordSessions(log, 'a', 10);
  const early = Buffer.from(await log.publish());
  await log.record('decisions', [{ kind: 'key.rotate', from: vkey, to: formatVerifierKey(nextKey) }]);
  const size = parseCheckpoint(parseNote(await log.publish()).text).size;
  await log.close();
  const both = signedTwice(itemsOf(readFiles(directory)), key, nextKey);
  await mkdir(join(directory, 'rotations'));
  await writeFile(join(directory, 'rotations', String(size)), both);
  await writeFile(join(directory, 'checkpoint'), both);
  log = await openTestLog(state, nextKey, 40_000);
  await recordSessions(log, 'b', 18);
  await log.record('decisions', [{ kind: 'key.shred', session: 's_a1', classes: ['content', 'results'], by: [], reason: 'its time was over' }]);
  await log.close();
  return { log: readFiles(directory), early };
}

async function recordSessions(log: Log, letter: string, count: number): Promise<void> {
  const sessions = Array.from({ length: count }, (_, number) => `s_${letter}${number + 1}`);
  for (let place = 0; place < 11; place++) {
    await Promise.all(sessions.map((session) => log.record(session, eventsOfSession(session).slice(place, place + 1))));
    if (place === 6) await log.record('decisions', [heldRequest(`s_${letter}1`)]);
  }
}

/** An entry with what it has sealed. */
export type Item = { readonly body: Buffer; readonly contents: Buffer | undefined };

/** What the segments hold, in order. */
export function itemsOf(log: Files): Item[] {
  const items: Item[] = [];
  for (const path of [...log.all.keys()].filter((name) => name.endsWith('.ndl')).toSorted()) {
    let contents: Buffer | undefined;
    for (const line of log.get(path).toString('latin1').split('\n').slice(1, -1)) {
      const body = unframeLine(Buffer.from(line, 'latin1'));
      const parsed = parseBody(body);
      if ('sealed' in parsed) contents = parsed.sealed;
      else {
        items.push({ body, contents });
        contents = undefined;
      }
    }
  }
  return items;
}

function subtreesOf(items: readonly Item[]) {
  return (level: number, index: number): Buffer => {
    const edge = new TreeEdge();
    for (const { body } of items.slice(index * 2 ** level, (index + 1) * 2 ** level)) edge.append(leafHash(body));
    return edge.root;
  };
}

export function signedOver(items: readonly Item[], signer: SigningKey = key): Buffer {
  return Buffer.from(signNote(formatCheckpoint({ origin, size: items.length, root: rootOf(items.length, subtreesOf(items)) }), signer));
}

/** The same text with the signatures of several keys. */
export function cosigned(note: Buffer, seconds = 1_793_613_602): Buffer {
  const { text, signatures } = parseNote(note.toString('utf8'));
  return Buffer.from(formatNote({ text, signatures: [...signatures, cosign(text, witness, seconds)] }));
}

export function signedTwice(items: readonly Item[], one: SigningKey, other: SigningKey): Buffer {
  const [first, second] = [one, other].map((signer) => parseNote(signedOver(items, signer).toString('utf8')));
  return Buffer.from(formatNote({ text: first?.text ?? '', signatures: [...(first?.signatures ?? []), ...(second?.signatures ?? [])] }));
}

function treeOf(items: readonly Item[]): Map<string, Buffer> {
  const subtree = subtreesOf(items);
  const files = new Map<string, Buffer>();
  for (const id of tilesOf(items.length)) {
    const { level, index, width } = id;
    const from = index * tileWidth;
    const bytes =
      level === 'entries'
        ? encodeBundle(items.slice(from, from + width).map(({ body }) => body))
        : Buffer.concat(Array.from({ length: width }, (_, place) => subtree(level * tileHeight, from + place)));
    files.set(tilePath(id), bytes);
  }
  return files;
}

/** A log directory over these entries, in one segment, whoever signed the checkpoint. */
export function logOf(items: readonly Item[], checkpoint: Buffer): Files {
  const header = formatSegmentHeader({ v: 1, kind: 'segment', number: 1, time: '2026-11-02T10:00:00.000Z', firstLeaf: 0 }).bytes;
  const lines = items.flatMap(({ body, contents }) => {
    const entry = frameEntry(body.toString('utf8')).bytes;
    return contents === undefined ? [entry] : [frameSealed(parseStored(body).session, contents), entry];
  });
  return new Files(new Map([['checkpoint', checkpoint], ...treeOf(items), ['log-000001.ndl', Buffer.concat([header, ...lines])]]));
}

/** An exported bundle over these entries. */
export function bundleOf(items: readonly Item[], checkpoint: Buffer, keys: readonly SigningKey[] = [key]): Files {
  const sealed = new Map<string, string>();
  for (const { body, contents } of items) {
    if (contents === undefined) continue;
    const path = `sealed/${parseStored(body).session}.ndl`;
    sealed.set(path, `${sealed.get(path) ?? ''}${JSON.stringify({ sha256: hashOf(contents), data: contents.toString('base64') })}\n`);
  }
  const texts = [['log-key.pub', keys.map((one) => `${formatVerifierKey(one)}\n`).join('')] as const, ...sealed];
  return new Files(new Map([['checkpoint', checkpoint], ...treeOf(items), ...texts.map(([path, text]) => [path, Buffer.from(text)] as const)]));
}

export function receiptFor(items: readonly Item[], session: string, signer: SigningKey = key): Buffer {
  const index = items.findLastIndex(({ body }) => parseStored(body).session === session);
  const proof = inclusionProof(index, items.length, subtreesOf(items)).map((hash) => hash.toString('base64'));
  const entry = hashOf(items[index]?.body ?? Buffer.alloc(0));
  return Buffer.from(`${JSON.stringify({ v: 1, session, index, entry, checkpoint: signedOver(items, signer).toString('utf8'), proof, key: formatVerifierKey(signer) })}\n`);
}

/** What a thief of the key does: numbers and hashes of every chain are made to fit again. */
export function relinked(items: readonly Item[]): Item[] {
  const tips = new Map<string, { seq: number; hash: string }>();
  return items.map(({ body, contents }) => {
    const entry = parseStored(body);
    const tip = tips.get(entry.session) ?? { seq: 0, hash: '' };
    const { v, session, time, event, sealed } = entry;
    const text = Buffer.from(JSON.stringify({ v, session, seq: tip.seq + 1, prev: tip.hash, time, event, ...(sealed && { sealed }) }));
    tips.set(session, { seq: tip.seq + 1, hash: hashOf(text) });
    return { body: text, contents };
  });
}
