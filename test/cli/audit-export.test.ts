/** gate audit export, key, receipt, shred and hold on a real relay: bundles that are completed, receipts that are kept. */
import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseCheckpoint, parseNote } from '../../src/audit/checkpoint.ts';
import { tilePath, tilesOf } from '../../src/audit/tiles.ts';
import { readBundle } from '../../src/client/bundle.ts';
import { saveReceipt } from '../../src/client/receipts.ts';
import { eventually } from '../relay/fixture.ts';
import { startAuditStage, type AuditStage } from './audit-stage.ts';

let stage: AuditStage;
let scratch: string;
let session: string;

beforeAll(async () => {
  [stage, scratch] = await Promise.all([startAuditStage(), mkdtemp(join(tmpdir(), 'gate-audit-export-'))]);
  session = await stage.work(Array.from({ length: 140 }, (_, index) => `select ${index}, 'needle-${index}'`));
});
afterAll(async () => {
  await stage?.fixture[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

const audit = (...argv: string[]) => stage.run('operator', ['audit', ...argv]);
const place = (name: string) => join(scratch, name);
const onDisk = (name: string) => readFile(join(stage.fixture.directory, 'state/log', name));

async function checkpointOf(directory: string): Promise<{ size: number; origin: string }> {
  return parseCheckpoint(parseNote(await readFile(join(directory, 'checkpoint'), 'utf8')).text);
}

describe('a bundle', () => {
  test('holds the tree as it is on disk, and is completed by the next export', async () => {
    const directory = place('bundle');
    expect(await audit('export', '--output', directory)).toMatchObject({ code: 0, out: '' });
    const first = await checkpointOf(directory);
    expect(first.size).toBeGreaterThan(256);
    for (const id of tilesOf(first.size)) expect(await readFile(join(directory, tilePath(id)))).toEqual(await onDisk(tilePath(id)));
    expect(await readFile(join(directory, 'checkpoint'))).toEqual(await onDisk('checkpoint'));
    const full = await stat(join(directory, 'tile/entries/000'));
    const sealed = (await readFile(join(directory, 'sealed', `${session}.ndl`), 'utf8')).trimEnd().split('\n');
    expect(sealed).toHaveLength(140);

    const later = await stage.work([`select 'later'`]);
    const { out } = await audit('export', '--output', directory, '--json');
    const second = await checkpointOf(directory);
    expect(JSON.parse(out)).toMatchObject({ size: second.size, origin: second.origin, before: first.size, sealed: { found: 141, named: 141 } });
    expect(await stat(join(directory, 'tile/entries/000'))).toMatchObject({ ino: full.ino, mtimeMs: full.mtimeMs });
    for (const id of tilesOf(second.size)) expect(await readFile(join(directory, tilePath(id)))).toEqual(await onDisk(tilePath(id)));
    expect(await readdir(join(directory, 'tile/entries/001.p'))).toEqual([String(second.size % 256)]);
    expect(await readdir(join(directory, 'sealed'))).toEqual(expect.arrayContaining([`${session}.ndl`, `${later}.ndl`]));
    expect(await readFile(join(directory, 'log-key.pub'), 'utf8')).toBe((await audit('key')).out);
    let count = 0;
    for await (const { index } of readBundle(directory)) expect(index).toBe(count++);
    expect(count).toBe(second.size);
  });

  test('without what is sealed', async () => {
    expect(await audit('export', '--output', place('open'), '--no-sealed')).toMatchObject({ code: 0 });
    expect((await readdir(place('open'))).toSorted()).toEqual(['checkpoint', 'log-key.pub', 'tile']);
  });

  test.each<[string, (directory: string) => Promise<void>]>([
    ['an entry was changed', async (directory) => {
      const file = join(directory, 'tile/entries/000');
      await writeFile(file, (await readFile(file, 'latin1')).replace('session.open', 'session.opeN'), 'latin1');
    }],
    ['a tile of hashes was changed', async (directory) => {
      const file = join(directory, 'tile/0/000');
      await writeFile(file, (await readFile(file)).fill(7, 64, 96));
    }],
    ['a tile was cut short', (directory) => truncate(join(directory, 'tile/entries/000'), 1000)],
  ])('is refused when %s, and stays as it was', async (what, change) => {
    const directory = place(`changed ${what}`);
    await cp(place('bundle'), directory, { recursive: true });
    await change(directory);
    await stage.work(['select 1']);
    const before = await readFile(join(directory, 'checkpoint'));
    const files = await readdir(directory, { recursive: true });
    expect(await audit('export', '--output', directory)).toMatchObject({ code: 'record-damaged' });
    expect(await readFile(join(directory, 'checkpoint'))).toEqual(before);
    expect((await readdir(directory, { recursive: true })).filter((name) => !/\.p(\/|$)/.test(name))).toEqual(files.filter((name) => !/\.p(\/|$)/.test(name)));
  });

  test('goes into no directory of something else, or of another log', async () => {
    await writeFile(place('letter.txt'), 'hello');
    expect(await audit('export', '--output', scratch)).toMatchObject({ code: 'usage', err: expect.stringContaining('no bundle') });
    await cp(place('open'), place('foreign'), { recursive: true });
    const key = await readFile(place('foreign/log-key.pub'), 'utf8');
    await writeFile(place('foreign/log-key.pub'), `other${key}`);
    expect(await audit('export', '--output', place('foreign'))).toMatchObject({ code: 'usage', err: expect.stringContaining('another log') });
    expect(await stage.run('engineer', ['audit', 'export', '--output', place('mine')])).toMatchObject({ code: 'denied' });
  });
});

describe('receipts, shredding and holds', () => {
  test('gate exec leaves a receipt behind, for its owner alone', async () => {
    const { code, err } = await (await stage.start('engineer', ['exec', 'prod-db', '--reason', 'x', '--sql', 'select 1'])).ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const folder = join(stage.fixture.directory, 'config/receipts');
    const [origin = ''] = await readdir(folder);
    const [name = ''] = await readdir(join(folder, origin));
    expect(((await stat(join(folder, origin, name))).mode & 0o777).toString(8)).toBe('600');
    const kept = JSON.parse(await readFile(join(folder, origin, name), 'utf8')) as { session: string; index: number };
    expect(name).toBe(`${kept.session}.json`);
    const { out } = await stage.run('engineer', ['audit', 'receipt', kept.session]);
    expect(JSON.parse(out)).toMatchObject({ session: kept.session, index: kept.index });
  });

  test('of the receipts that are kept the oldest go', async () => {
    const client = await stage.fixture.clientFor('engineer');
    const receipt = await client.receipt(session);
    for (const id of ['s_a', 's_b', 's_c']) {
      const path = await saveReceipt(place('kept'), { ...receipt, session: id }, 2);
      await eventually('time has passed', async () => Date.now() > (await stat(path)).mtimeMs + 5);
    }
    const [folder = ''] = await readdir(place('kept/receipts'));
    expect((await readdir(place(`kept/receipts/${folder}`))).toSorted()).toEqual(['s_b.json', 's_c.json']);
    await expect(saveReceipt(place('kept'), { ...receipt, checkpoint: receipt.checkpoint.replace(/\n\d+\n/, '\n9999\n') })).rejects.toMatchObject({ code: 'record-damaged' });
  });

  test('shredding takes two, which the exit code says; a hold stops it', async () => {
    const shred = (account: string, ...more: string[]) => stage.run(account, ['audit', 'shred', session, '--reason', 'asked for', ...more]);
    expect(await stage.run('operator', ['audit', 'hold', session, '--reason', 'court'])).toMatchObject({ code: 0 });
    expect(await shred('dba')).toMatchObject({ code: 'denied' });
    expect(await stage.run('operator', ['audit', 'release', session, '--reason', 'over'])).toMatchObject({ code: 0 });
    expect(await shred('dba')).toMatchObject({ code: 8, err: expect.stringContaining(`gate audit shred ${session}`) });
    expect(await shred('dba')).toMatchObject({ code: 'denied', err: expect.stringContaining('Another administrator') });
    const { code, out } = await shred('dba2', '--json');
    expect([code, JSON.parse(out)]).toEqual([0, { state: 'shredded' }]);
  });
});
