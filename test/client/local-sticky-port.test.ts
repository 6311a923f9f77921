/** Remembered ports: the same for a target, never another target's, and no reason to fail. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ClientConfig } from '../../src/client/config.ts';
import type { LocalPort } from '../../src/client/local-port.ts';
import { rememberPort, startOnStickyPort } from '../../src/client/sticky-port.ts';
import { GateError } from '../../src/errors/errors.ts';

let config: ClientConfig;
let notes: string[];
let taken: Set<number>;
let isAllTaken: boolean;
const relay = 'https://gate.example.com';

beforeEach(async () => {
  config = { directory: await mkdtemp(join(tmpdir(), 'gate-ports-test-')), isKeychainWanted: false };
  [notes, taken, isAllTaken] = [[], new Set(), false];
});
afterEach(() => rm(config.directory, { recursive: true, force: true }));

/** The kernel's part: a taken port is refused, and 0 gets one that is not. */
async function start(port: number): Promise<LocalPort> {
  if (taken.has(port) || (isAllTaken && port !== 0)) {
    throw new GateError('usage', 'taken', { cause: Object.assign(new Error('taken'), { code: 'EADDRINUSE' }) });
  }
  return { host: '127.0.0.1', port: port === 0 ? 50_001 : port, close: () => Promise.resolve() };
}

const startFor = async (target: string, at = relay) =>
  (await startOnStickyPort({ config, relay: at, target, start, note: (line) => notes.push(line) })).port;

test('a target keeps its port, and two targets have two, on each relay', async () => {
  const ports = [await startFor('a'), await startFor('b'), await startFor('a', 'https://other.example.com')];
  expect(new Set(ports).size).toBe(3);
  for (const port of ports) expect(port).toSatisfy((value: number) => value >= 20_000 && value < 30_000);
  expect([await startFor('a'), await startFor('b'), await startFor('a', 'https://other.example.com')]).toEqual(ports);
  expect(notes).toEqual([]);
});

test('a port that is remembered for one target is not given to another', async () => {
  const port = await startFor('a');
  await rm(join(config.directory, 'ports.json'));
  await rememberPort({ config, relay, target: 'b', note: (line) => notes.push(line) }, port);
  expect(await startFor('a')).toBe(port + 1);
});

test('while the port is taken another one serves, with a note, and the old one stays remembered', async () => {
  const port = await startFor('a');
  taken.add(port);
  expect(await startFor('a')).toBe(50_001);
  expect(notes).toEqual([`port ${port}, which a had last time, is in use; this time it is 50001`]);
  taken.delete(port);
  expect(await startFor('a')).toBe(port);
});

test('where the whole row is taken, any free port is, and it is remembered', async () => {
  isAllTaken = true;
  expect(await startFor('a')).toBe(50_001);
  isAllTaken = false;
  expect(await startFor('a')).toBe(50_001);
});

test.each(['', '[1]', '{"https://gate.example.com a": 0}', '{"https://gate.example.com a": "x"}'])('a file with %j is forgotten', async (text) => {
  await writeFile(join(config.directory, 'ports.json'), text);
  const port = await startFor('a');
  expect(JSON.parse(await readFile(join(config.directory, 'ports.json'), 'utf8'))).toMatchObject({ [`${relay} a`]: port });
});

test('the oldest of more than 500 is forgotten', async () => {
  const many = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`${relay} t${n}`, 1000 + n]));
  await writeFile(join(config.directory, 'ports.json'), JSON.stringify(many));
  await startFor('a');
  const kept = Object.keys(JSON.parse(await readFile(join(config.directory, 'ports.json'), 'utf8')) as object);
  expect([kept.length, kept[0], kept.at(-1)]).toEqual([500, `${relay} t1`, `${relay} a`]);
});

// The superuser may write anywhere.
test.skipIf(process.getuid?.() === 0)('a directory that cannot be written is a note and no failure', async () => {
  await chmod(config.directory, 0o500);
  expect(await startFor('a')).toBeGreaterThan(0);
  expect(notes).toEqual([expect.stringContaining('cannot be remembered')]);
  await chmod(config.directory, 0o700);
});
