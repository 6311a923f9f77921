/** S8: every byte flipped, every entry dropped, doubled and swapped, every cut, with and without the key. Both verifiers see all of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatVerifierKey } from '../../src/audit/checkpoint.ts';
import { bundleOf, cosigned, itemsOf, logOf, makeBigLog, makeSmallLog, nextKey, receiptFor, relinked, signedOver, verifyBoth, vkey, witness, type Big, type Files, type Item, type Options } from './verify-stage.ts';

let log: Files;
let items: Item[];
let bundle: Files;
let big: Big;
let bigBundle: Files;
const witnesses = [formatVerifierKey(witness)];

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gate-tamper-'));
  log = await makeSmallLog(join(directory, 'small'));
  items = itemsOf(log);
  bundle = bundleOf(items, cosigned(log.get('checkpoint'))).with({ 'receipts/s_1.json': receiptFor(items, 's_1') });
  big = await makeBigLog(join(directory, 'big'));
  await rm(directory, { recursive: true });
  const rotations = Object.fromEntries([...big.log.all].filter(([path]) => path.startsWith('rotations/')));
  bigBundle = bundleOf(itemsOf(big.log), big.log.get('checkpoint'), [nextKey]).with(rotations);
});

/** Flips one bit of each byte, another one each time, and expects both verifiers to see it. */
async function flipAll(files: Files, options: Options = {}, step = 1): Promise<number> {
  expect((await verifyBoth(files, options)).exitCode).toBe(0);
  let count = 0;
  for (const [path, bytes] of files.all) {
    for (let at = count % step; at < bytes.length; at += step) {
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
      const { exitCode } = await verifyBoth(files, options, { path, bytes: flipped });
      if (exitCode === 0) expect.fail(`${path}, byte ${at}: nobody has seen it`);
      count++;
    }
  }
  return count;
}

/** Every byte: GATE_TEST_FLIPS=1. */
const step = Number(process.env['GATE_TEST_FLIPS'] ?? 2);

describe('one bit of one byte', () => {
  test('of every file of a log directory', async () => {
    expect(await flipAll(log, {}, step)).toBeGreaterThan(4000 / step);
  });

  test('of every file of a bundle, with a witness and a receipt', async () => {
    expect(await flipAll(bundle, { witnesses }, step)).toBeGreaterThan(3000 / step);
  });

  test('of a large log and its bundle with a rotated key, here and there', async () => {
    expect(await flipAll(big.log, {}, 9973)).toBeGreaterThan(15);
    expect(await flipAll(bigBundle, { keys: [formatVerifierKey(nextKey)] }, 9973)).toBeGreaterThan(15);
    const rotations = [...big.log.all.keys()].filter((path) => path === 'checkpoint' || path.startsWith('rotations/'));
    for (const path of rotations) {
      const bytes = big.log.get(path);
      for (let at = 0; at < bytes.length; at += 53) {
        const flipped = Buffer.from(bytes);
        flipped[at] = (flipped[at] ?? 0) ^ 1;
        expect((await verifyBoth(big.log, {}, { path, bytes: flipped })).exitCode, `${path}, byte ${at}`).not.toBe(0);
      }
    }
  });
});

const edits: readonly (readonly [string, (all: Item[], at: number) => Item[]])[] = [
  ['dropped', (all, at) => all.toSpliced(at, 1)],
  ['doubled', (all, at) => all.toSpliced(at, 0, all[at] as Item)],
  ['swapped with its neighbour', (all, at) => all.toSpliced(at, 2, ...all.slice(at, at + 2).toReversed())],
  ['cut off with all that follow', (all, at) => all.slice(0, at)],
];

describe.each(edits)('an entry that was %s', (name, edit) => {
  const places = () => Array.from({ length: items.length - (name.startsWith('swapped') ? 1 : 0) }, (_, at) => at);

  test('in segments, or in bundles of entries, or in all of the tree', async () => {
    const checkpoint = log.get('checkpoint');
    for (const at of places()) {
      const edited = edit(items, at);
      const asLog = logOf(edited, checkpoint);
      const asBundle = bundleOf(edited, checkpoint);
      const whole = logOf(items, checkpoint);
      const entries = `tile/entries/000.p/${items.length}`;
      const own = asLog.all.get(`tile/entries/000.p/${edited.length}`);
      const forgeries = [
        asLog,
        // What comes behind the end of a tree is no part of it yet, and a bundle has nothing else to tell by.
        ...(edited.length > items.length && at === items.length - 1 ? [] : [asBundle, bundle.with({ [entries]: own })]),
        whole.with({ 'log-000001.ndl': asLog.get('log-000001.ndl') }),
        whole.with({ [entries]: own }),
      ];
      for (const files of forgeries) expect((await verifyBoth(files)).exitCode, `at ${at}`).toBe(1);
    }
  });

  test('by a thief of the key, seen by an older checkpoint or a receipt', async () => {
    const kept = [{ name: 'kept', bytes: log.get('checkpoint') }];
    const receipts = [{ name: 'kept', bytes: receiptFor(items, 's_1') }];
    for (const at of places()) {
      for (const forged of [edit(items, at), relinked(edit(items, at))]) {
        const checkpoint = signedOver(forged);
        for (const files of [logOf(forged, checkpoint), bundleOf(forged, checkpoint)]) {
          expect((await verifyBoth(files, { checkpoints: kept })).exitCode, `at ${at}`).toBe(1);
          expect((await verifyBoth(files, { receipts })).exitCode, `at ${at}`).toBe(1);
        }
      }
    }
  });
});

test('two logs: a checkpoint of a fork is no beginning of this one, whatever its size', async () => {
  const fork = relinked(items.map((item) => ({ ...item, body: Buffer.from(item.body.toString().replace('"name":"Erin"', '"name":"Eric"')) })));
  for (let size = 1; size <= items.length; size++) {
    const { exitCode, findings } = await verifyBoth(log, { checkpoints: [{ name: 'fork', bytes: signedOver(fork.slice(0, size)) }] });
    expect([exitCode, findings.map(({ kind }) => kind)]).toEqual([1, ['equivocation']]);
    expect((await verifyBoth(log, { checkpoints: [{ name: 'own', bytes: signedOver(items.slice(0, size)) }] })).exitCode).toBe(0);
  }
  expect((await verifyBoth(log, { receipts: [{ name: 'fork', bytes: receiptFor(fork, 's_1') }] })).exitCode).toBe(1);
});

test('a file that is cut anywhere, emptied or gone', async () => {
  for (const [files, options] of [[log, {}], [bundle, { witnesses }]] as const) {
    for (const [path, bytes] of files.all) {
      for (let end = 0; end < bytes.length; end += 29) {
        const { exitCode } = await verifyBoth(files, options, { path, bytes: bytes.subarray(0, end) });
        expect(exitCode, `${path}, cut at ${end}`).not.toBe(0);
      }
      // A receipt is the reader's own business.
      if (!path.startsWith('receipts/')) expect((await verifyBoth(files.with({ [path]: undefined }), options)).exitCode, path).not.toBe(0);
    }
  }
});

test('garbage is a finding, never a crash', async () => {
  const hostile = [Buffer.alloc(0), Buffer.from('\n'), Buffer.from('{}\n'), Buffer.from('null'), Buffer.alloc(3000, 0xff), Buffer.from('00000000 {}\n'), Buffer.alloc(500, 0x0a)];
  for (const files of [log, bundle]) {
    for (const path of files.all.keys()) {
      for (const bytes of hostile) expect((await verifyBoth(files, {}, { path, bytes })).exitCode, path).not.toBe(0);
    }
  }
  // A size that nobody could hold in memory, with a good signature.
  const { signNote, formatCheckpoint } = await import('../../src/audit/checkpoint.ts');
  const { key, origin } = await import('./verify-stage.ts');
  for (const size of [2 ** 31, 10 ** 14]) {
    const checkpoint = Buffer.from(signNote(formatCheckpoint({ origin, size, root: Buffer.alloc(32) }), key));
    expect((await verifyBoth(log.with({ checkpoint }), { keys: [vkey] })).exitCode).not.toBe(0);
  }
});
