/** What a verification says of whole records: clean ones, growing ones, rotated ones, and what it names where one is not. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatSigningKey, formatVerifierKey, signingKey } from '../../src/audit/checkpoint.ts';
import { frameLine, frameSealed, hashOf, parseStored } from '../../src/audit/line.ts';
import { decodeBundle, encodeBundle } from '../../src/audit/tiles.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { outcome, sessionClose, sessionOpen, statement } from '../store/recorded-events.ts';
import {
  bundleOf, cosigned, grant, itemsOf, key, logOf, makeBigLog, nextKey, openTestLog, readFiles, receiptFor, relinked, signedOver, signedTwice, verifyBoth, vkey, witness,
  type Big, type Files, type Item, type Options,
} from './verify-stage.ts';

let big: Big;
let items: Item[];
let bundle: Files;
const next = formatVerifierKey(nextKey);

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gate-verify-'));
  big = await makeBigLog(directory);
  await rm(directory, { recursive: true });
  items = itemsOf(big.log);
  bundle = bundleOf(items, big.log.get('checkpoint'), [nextKey, key]);
  for (const [path, bytes] of big.log.all) if (path.startsWith('rotations/')) bundle = bundle.with({ [path]: bytes });
});

/** Kinds and places of all findings. */
async function found(files: Files, options: Options = {}): Promise<string[]> {
  const { findings } = await verifyBoth(files, options);
  return findings.map(({ kind, index }) => (index === undefined ? kind : `${kind} ${index}`));
}

describe('a record as it should be', () => {
  test('a log of several tiles and its bundle are intact, whichever key is trusted', async () => {
    expect(items.length).toBeGreaterThan(300);
    expect([...big.log.all.values()].reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(20_000);
    for (const files of [big.log, bundle]) {
      for (const keys of [[vkey], [next], [vkey, next]]) {
        const { result, exitCode, counts, log, findings } = await verifyBoth(files, { keys });
        expect({ result, exitCode, findings }).toEqual({ result: 'intact', exitCode: 0, findings: [] });
        expect(counts).toMatchObject({ entries: items.length, sessions: 28, statements: 84, refused: 28 });
        expect(log).toMatchObject({ size: items.length, signedBy: [next] });
      }
    }
    expect((await verifyBoth(bundle, { keys: [] })).result).toBe('intact');
  });

  test('with an older checkpoint, a receipt and a witness', async () => {
    const files = bundle.with({ checkpoint: cosigned(bundle.get('checkpoint')), 'receipts/s_a2.json': receiptFor(items.slice(0, 200), 's_a2') });
    const receipts = [{ name: 'r', bytes: receiptFor(items, 's_b18', nextKey) }];
    const { exitCode, counts } = await verifyBoth(files, { checkpoints: [{ name: 'c', bytes: big.early }], receipts, witnesses: [formatVerifierKey(witness)] });
    expect([exitCode, counts.witnesses, counts.checkpoints, counts.receipts]).toEqual([0, 1, 1, 2]);
    expect(await found(bundle, { witnesses: [formatVerifierKey(witness)] })).toEqual(['witnesses-missing']);
    expect(await found(bundle, { witnesses: [formatVerifierKey(witness)], witnessesMin: 0 })).toEqual([]);
    const twice = [formatVerifierKey(witness), `${formatVerifierKey(witness)}\n`];
    expect(await found(files, { witnesses: twice })).toEqual([]);
    expect(await found(files, { witnesses: twice, witnessesMin: 2 })).toEqual(['witnesses-missing']);
  });

  test('tiles from before and from ahead of the checkpoint', async () => {
    const older = big.log.with({ 'tile/0/001.p/2': big.log.get(tilePathOf('tile/0/001.p')).subarray(0, 64) });
    expect(await found(older)).toEqual([]);
    expect(await found(big.log.with({ 'tile/0/001.p/2': Buffer.alloc(64) }))).toEqual(['tile-changed']);
    expect(await found(big.log.with({ 'tile/0/002': Buffer.alloc(8192) }))).toEqual(['tile-uncovered']);
    expect(await found(big.log.with({ 'tile/0/2': Buffer.alloc(64), 'tile/0/000.p/0': Buffer.alloc(0), 'tile/readme': Buffer.alloc(1) }))).toEqual(Array(3).fill('tile-unexpected'));
    expect(await found(big.log.with({ 'tile/0/002.new': Buffer.alloc(3), 'checkpoint.new': Buffer.alloc(3) }))).toEqual([]);
  });

  test('what a shredded session has sealed may be gone, and that of others not', async () => {
    const { notes, findings } = await verifyBoth(bundle.with({ 'sealed/s_a1.ndl': undefined }));
    expect([findings, notes.filter((note) => note.includes('shredded')).length]).toEqual([[], 5]);
    const [, ...rest] = bundle.get('sealed/s_a2.ndl').toString().split('\n');
    expect(await found(bundle.with({ 'sealed/s_a2.ndl': Buffer.from(rest.join('\n')) }))).toEqual([expect.stringMatching(/^sealed-missing/)]);
  });

  function tilePathOf(start: string): string {
    return [...big.log.all.keys()].find((path) => path.startsWith(start)) ?? expect.fail();
  }
});

test('a log at work is incomplete, and intact once it rests', async () => {
  const state = await temporaryDirectory();
  const log = await openTestLog(state);
  await log.record('decisions', [grant]);
  await log.record('s_1', [sessionOpen, statement(1)]);
  await log.publish();
  expect(await found(readFiles(join(state, 'log')))).toEqual(['outcome-missing 2', 'close-missing 1']);
  await log.record('s_1', [outcome(1), sessionClose]);
  expect(await found(readFiles(join(state, 'log')))).toEqual(['outcome-missing 2', 'close-missing 1', 'uncovered 3']);
  await log.close();
  expect(await found(readFiles(join(state, 'log')))).toEqual([]);
});

test('a process that was killed: intact after the next start has ended its sessions', async () => {
  const state = await temporaryDirectory();
  const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, '../store/recording-child.ts'), join(state, 'log')], { stdio: ['ignore', 'pipe', 'inherit'] });
  let lines = 0;
  for await (const chunk of child.stdout) if ((lines += String(chunk).split('\n').length) > 150) break;
  child.kill('SIGKILL');
  await once(child, 'exit');
  const { loadLogSecrets } = await import('../../src/store/log-secrets.ts');
  const { openLog } = await import('../../src/store/log.ts');
  const log = await openLog(join(state, 'log'));
  for (const session of log.openSessions()) await log.record(session, [sessionClose]);
  await log.close();
  const { key: signer } = await loadLogSecrets(join(state, 'log'));
  const { findings, notes } = await verifyBoth(readFiles(join(state, 'log')), { keys: [formatVerifierKey(signer)] });
  // That program grants nothing.
  expect(findings.filter(({ kind }) => kind !== 'grant-missing')).toEqual([]);
  expect(notes.join()).toContain('nobody knows how statement');
  expect(formatSigningKey(signer)).toContain('PRIVATE');
});

describe('what is wrong is named', () => {
  const path = 'tile/entries/000';
  const withEntries = (change: (entries: Buffer[]) => Buffer[]) => bundle.with({ [path]: encodeBundle(change(decodeBundle(bundle.get(path)))) });

  test.each<[string, (entries: Buffer[]) => Buffer[], string]>([
    ['changed', (all) => all.with(40, Buffer.from(String(all[40]).replace('"v":1', '"v":1 '))), 'entry-changed 40'],
    ['dropped', (all) => all.toSpliced(40, 1), 'entry-missing 40'],
    ['doubled', (all) => all.toSpliced(41, 0, all[40] as Buffer), 'entry-added 40'],
    ['added', (all) => all.toSpliced(40, 0, Buffer.from('{}')), 'entry-added 40'],
    ['swapped', (all) => all.with(40, all[41] as Buffer).with(41, all[40] as Buffer), 'entry-moved 40'],
  ])('an entry that was %s', async (_, change, expected) => {
    const { findings, exitCode } = await verifyBoth(withEntries(change));
    expect(findings.map(({ kind, index }) => `${kind} ${index}`)).toContain(expected);
    expect(exitCode).toBe(1);
    const named = findings.find(({ kind, index }) => `${kind} ${index}` === expected);
    const { session, seq } = parseStored(items[40]?.body as Buffer);
    if (!['entry-missing 40', 'entry-added 40'].includes(expected)) expect(named).toMatchObject({ session, seq });
  });

  test('where only the tiles are wrong, the tile is', async () => {
    const wrong = Buffer.from(bundle.get('tile/0/000'));
    wrong[70] = (wrong[70] ?? 0) ^ 1;
    expect(await found(bundle.with({ 'tile/0/000': wrong }))).toEqual(expect.arrayContaining(['tile-changed']));
    expect((await verifyBoth(bundle.with({ 'tile/1/000.p/1': Buffer.alloc(32) }))).findings[0]).toMatchObject({ kind: 'tile-changed', file: 'tile/1/000.p/1' });
    expect(await found(bundle.with({ 'tile/0/000': undefined }))).toContain('tile-missing');
  });

  test('a gap in a rebuilt tree, by session and number', async () => {
    const cut = items.toSpliced(100, 1);
    const { session, seq } = parseStored(items[100]?.body as Buffer);
    const { findings } = await verifyBoth(logOf(cut, big.log.get('checkpoint')));
    expect(findings.map(({ message }) => message).join('\n')).toContain(`entry #${seq} of ${session} is missing`);
    expect(findings.map(({ kind }) => kind)).toContain('root-mismatch');
  });

  test('a thief of the key, by what others have kept', async () => {
    const edited = relinked(items.map((item, index) => (index === 40 ? { ...item, body: Buffer.from(item.body.toString().replace('"time":"20', '"time":"19')) } : item)).slice(0, 180));
    const forged = bundleOf(edited.filter(({ body }) => !body.includes('key.rotate')), Buffer.alloc(0));
    const without = itemsWithout(edited);
    const files = forged.with({ checkpoint: signedOver(without) });
    expect((await verifyBoth(files, { keys: [vkey] })).exitCode).not.toBe(1);
    expect(await found(files, { checkpoints: [{ name: 'kept', bytes: big.early }] })).toContain('equivocation');
    expect(await found(files, { receipts: [{ name: 'kept', bytes: receiptFor(items.slice(0, 150), 's_a3') }] })).toEqual(expect.arrayContaining(['equivocation']));
    expect(await found(files, { checkpoints: [{ name: 'kept', bytes: signedOver(items.slice(0, 185)) }] })).toContain('truncated 179');
  });

  function itemsWithout(all: readonly Item[]): Item[] {
    return all.filter(({ body }) => !body.includes('key.rotate'));
  }

  test('keys', async () => {
    const [rotation = ''] = [...bundle.all.keys()].filter((one) => one.startsWith('rotations/'));
    expect(await found(bundle.with({ [rotation]: undefined }))).toEqual(expect.arrayContaining(['rotation-missing 113', 'signature-missing']));
    expect(await found(bundle, { keys: [formatVerifierKey(witness)] })).toContain('key-unusable');
    expect(await found(bundle.with({ checkpoint: signedOver(items, key) }))).toEqual(expect.arrayContaining(['key-retired']));
    expect(await found(bundle.with({ 'rotations/7': bundle.get(rotation) }))).toEqual(['rotation-broken']);
    expect(await found(bundle.with({ 'rotations/7': signedOver(items.slice(0, 7)) }))).toEqual(['rotation-unsigned']);
  });

  test('a rotation that was announced and not carried out, and one that was given up for another', async () => {
    const announce = (to: string) => ({ v: 1, session: 'decisions', seq: 1, prev: '', time: '2026-11-02T10:00:00.000Z', event: { kind: 'key.rotate', from: vkey, to } });
    const toNext = { body: Buffer.from(JSON.stringify(announce(next))), contents: undefined };
    expect(await found(logOf([toNext], signedOver([toNext])))).toEqual(['rotation-pending 0']);
    const other = { body: Buffer.from(JSON.stringify(announce(formatVerifierKey(signingKey('gate.example.com/test', Buffer.alloc(32, 7)))))), contents: undefined };
    const both = relinked([other, toNext]);
    expect(await found(logOf(both, signedTwice(both, key, nextKey)))).toEqual([]);
  });

  test('what cannot be judged', async () => {
    expect((await verifyBoth(bundle.with({ checkpoint: undefined }))).exitCode).toBe(3);
    expect((await verifyBoth(big.log, { keys: [] })).exitCode).toBe(3);
    expect((await verifyBoth(bundle, { checkpoints: [{ name: 'x', bytes: undefined }] })).exitCode).toBe(3);
    expect((await verifyBoth(bundle, { receipts: [{ name: 'x', bytes: Buffer.from('{"v":2}') }] })).exitCode).toBe(3);
    expect((await verifyBoth(bundle.with({ checkpoint: Buffer.from('\u2014') }))).exitCode).toBe(1);
    const later = [...items.slice(0, 3), { body: Buffer.from('{"v":2}'), contents: undefined }];
    expect((await verifyBoth(logOf(later, signedOver(later)))).exitCode).toBe(3);
  });

  test.each<[string, (all: Item[]) => Item[], string]>([
    ['an outcome is missing', (all) => all.filter(({ body }) => !body.includes('"outcome"')), 'outcome-missing'],
    ['an outcome is there twice', (all) => all.flatMap((item) => (item.body.includes('"outcome"') ? [item, item] : [item])), 'outcome-doubled'],
    ['an outcome without intent', (all) => all.filter(({ body }) => !body.includes('"allow"')), 'outcome-unmatched'],
    ['a statement is sent twice', (all) => all.flatMap((item) => (item.body.includes('"allow"') ? [item, item] : [item])), 'intent-doubled'],
    ['a session has no grant', (all) => all.filter(({ body }) => !body.includes('"kind":"grant"')), 'grant-missing'],
    ['a session has no beginning', (all) => all.filter(({ body }) => !body.includes('"session.open"')), 'open-missing'],
    ['a session has no end', (all) => all.filter(({ body }) => !body.includes('"session.close"')), 'close-missing'],
  ])('%s, though signed', async (_, change, kind) => {
    const told = rewritten(change);
    const { findings } = await verifyBoth(logOf(told, signedOver(told)));
    expect(new Set(findings.map((finding) => finding.kind))).toContain(kind);
  });
});

/** The entries of a new log, changed before they are chained and signed. */
function rewritten(change: (all: Item[]) => Item[]): Item[] {
  return relinked(change(items.filter(({ body }) => !body.includes('key.rotate'))));
}

/** The first entries of the log, with one in another spelling that the rest of its chain follows. */
function respelled(at: number, spell: (text: string) => Buffer): Item[] {
  const { session } = parseStored(items[at]?.body ?? Buffer.alloc(0));
  let prev: string | undefined;
  return items.slice(0, 100).map((item, index) => {
    const isNext = prev !== undefined && parseStored(item.body).session === session;
    if (index !== at && !isNext) return item;
    const body = index === at ? spell(item.body.toString()) : Buffer.from(JSON.stringify({ ...parseStored(item.body), prev }));
    prev = hashOf(body);
    return { ...item, body };
  });
}

describe('an authentic entry that cannot be read', () => {
  let at: number;
  let session: string;

  beforeAll(() => {
    at = items.findIndex(({ body }) => body.includes('"allow"'));
    ({ session } = parseStored(items[at]?.body ?? Buffer.alloc(0)));
  });

  /** A bundle over entries that nobody can say the sealed contents of, with what the log has sealed before they were changed. */
  function bundleAround(all: readonly Item[]): Files {
    const sealed = [...bundleOf(items.slice(0, 100), Buffer.alloc(0)).all].filter(([path]) => path.startsWith('sealed/'));
    return bundleOf(all.map(({ body }) => ({ body, contents: undefined })), signedOver(all)).with(Object.fromEntries(sealed));
  }

  test.each<[string, (text: string) => Buffer]>([
    ['of a later version', (text) => Buffer.from(text.replace('"v":1', '"v":2'))],
    ['whose event is a list', (text) => Buffer.from(text.replace(/"event":.*/, '"event":[]}'))],
    ['that is not UTF-8', (text) => Buffer.from(text.replace('"v":1', '"v":1,"x":"\xff"'), 'latin1')],
  ])('%s makes nothing tampered behind it, nor what it has sealed', async (_, spell) => {
    const all = respelled(at, spell);
    expect(await verifyBoth(bundleAround(all))).toMatchObject({ exitCode: 3 });
    const log = logOf(items.slice(0, 100), signedOver(all));
    const segment = log.get('log-000001.ndl');
    const start = segment.indexOf(frameLine(items[at]?.body.toString() ?? '').bytes);
    const lines = all.slice(at).flatMap(({ body, contents }, place) => {
      const own = contents && frameSealed(place === 0 ? session : parseStored(body).session, contents);
      return place > 0 && own ? [own, rawLine(body)] : [rawLine(body)];
    });
    const changed = log.with({ 'log-000001.ndl': Buffer.concat([segment.subarray(0, start), ...lines]) });
    const tiles = [...bundleAround(all).all].filter(([path]) => path.startsWith('tile/'));
    expect(await verifyBoth(changed.with(Object.fromEntries(tiles)))).toMatchObject({ exitCode: 3 });
  });

  function rawLine(body: Buffer): Buffer {
    return Buffer.concat([Buffer.from(`${crc32(body).toString(16).padStart(8, '0')} `), body, Buffer.from('\n')]);
  }

  test('hides no larger gap, and no wrong contents', async () => {
    const all = respelled(at, (text) => Buffer.from(text.replace('"v":1', '"v":2')));
    const gone = all.findIndex(({ body }, index) => index > at && parseStored(body).session === session);
    expect((await found(bundleAround(all.toSpliced(gone, 1)))).join()).toContain('chain-gap');
    const path = `sealed/${session}.ndl`;
    const wrong = Buffer.from(bundleAround(all).get(path).toString().replace(/"sha256":"."/, '"sha256":"0"').replace(/"data":"..../, '"data":"AAAA'));
    expect(await verifyBoth(bundleAround(all).with({ [path]: wrong }))).toMatchObject({ exitCode: 1 });
  });
});

test('a number of a statement does not come back behind the end of its session', async () => {
  const all = rewritten((same) => {
    const close = same.findIndex(({ body }) => body.includes('"session.close"'));
    const { session } = parseStored(same[close]?.body ?? Buffer.alloc(0));
    const again = same.filter(({ body }) => parseStored(body).session === session && /"statement":1\b/.test(body.toString()) && /"(statement|outcome)","connection"/.test(body.toString()));
    return same.toSpliced(close + 1, 0, ...again);
  });
  expect(new Set(await found(logOf(all, signedOver(all))).then((kinds) => kinds.map((kind) => kind.split(' ')[0])))).toContain('intent-doubled');
});

test('a key that is none says nothing about the record', async () => {
  for (const keys of [['x'], [''], [formatVerifierKey(witness)]]) expect((await verifyBoth(bundle, { keys })).exitCode).toBe(3);
});

test('a torn end is one of any number of damaged lines, with nothing whole behind', async () => {
  const all = rewritten((same) => same.slice(0, 20));
  const files = logOf(all, signedOver(all));
  const path = 'log-000001.ndl';
  const lines = files.get(path).toString('latin1').split('\n');
  const behind = (text: string) => files.with({ [path]: Buffer.concat([files.get(path), Buffer.from(text, 'latin1')]) });
  const kindsOf = async (record: Files) => (await found(record)).filter((kind) => kind.startsWith('segment'));
  expect(await kindsOf(behind('\n\n\0\nx'))).toEqual(['segment-torn 20']);
  expect(await kindsOf(behind(`\n\n${lines.at(-2)}\n`))).toContain('segment-line 20');
});
