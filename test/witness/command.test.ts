/** gate witness as a program: what it prints, which keys it takes, and that kill -9 leaves a whole checkpoint that is not too old. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { formatVerifierKey, parseCheckpoint, parseNote, signingKey } from '../../src/audit/checkpoint.ts';
import { checkCosignature, originFile, SomeLog, submit, temporaryDirectory } from './witness-stage.ts';

const root = join(import.meta.dirname, '../..');
const log = new SomeLog();

function spawnGate(...words: readonly string[]) {
  const loader = new URL(import.meta.resolve('tsx')).href;
  const child = spawn(process.execPath, ['--import', loader, join(root, 'bin/gate.ts'), ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function startProgram(state: string, ...more: readonly string[]) {
  const words = ['--state', state, '--log', formatVerifierKey(log.key), '--listen', '127.0.0.1:0', '--watch-stdin'];
  const child = spawnGate('witness', '--json', ...words, ...more);
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const ready = JSON.parse(line) as { event: string; url: string; vkey: string; pid: number };
  return { child, ...ready };
}

async function runToEnd(...words: readonly string[]) {
  const child = spawnGate(...words);
  const [out, error, [code]] = await Promise.all([readAll(child.stdout), readAll(child.stderr), once(child, 'exit') as Promise<[number]>]);
  return { code, out, error };
}

test('prints its key, serves, and stops at SIGTERM or when its parent is gone', async () => {
  const state = join(await temporaryDirectory(), 'state');
  const first = await startProgram(state, '--name', 'witness.example/w1');
  expect(first).toMatchObject({ event: 'ready', url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), pid: first.child.pid });
  const { body } = await submit(first.url, log.request(0, 3));
  checkCosignature(body, log.text(3), first.vkey);
  first.child.kill('SIGTERM');
  expect(await once(first.child, 'exit')).toEqual([0, null]);
  const second = await startProgram(state);
  expect(second.vkey).toBe(first.vkey);
  second.child.stdin.end();
  expect(await once(second.child, 'exit')).toEqual([0, null]);
});

test('prints the key alone on stdout without --json, and warns where others could listen', async () => {
  const state = join(await temporaryDirectory(), 'state');
  const file = join(await temporaryDirectory(), 'logs');
  const second = new SomeLog({ origin: 'second.example', seed: 8 });
  await writeFile(file, `# two relays\n${formatVerifierKey(log.key)}\n\n${formatVerifierKey(second.key)}\n`);
  const child = spawnGate('witness', '--state', state, '--log', `@${file}`, '--name', 'w', '--listen', '0.0.0.0:0', '--watch-stdin');
  const words = readAll(child.stderr);
  const [vkey] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  expect(vkey).toMatch(/^w\+[0-9a-f]{8}\+B/);
  child.stdin.end();
  const said = await words;
  expect(said).toContain('put a server with TLS in front of it');
  expect(said).toMatch(/The witness serves at http:\/\/0\.0\.0\.0:\d+\./);
});

test('refuses keys that are none of a log, and addresses that are none', async () => {
  const state = join(await temporaryDirectory(), 'state');
  const cosigner = formatVerifierKey(signingKey('witness.example', Buffer.alloc(32, 9), 'cosignature/v1'));
  const key = formatVerifierKey(log.key);
  const cases = [
    [['--log', 'nonsense'], 'this is not a verifier key'],
    [['--log', cosigner], 'the key of witness.example is one of a witness, not of a log'],
    [['--log', `@${state}`], 'cannot read the key of a log'],
    [['--log', key, '--listen', 'nowhere'], 'Write host:port'],
    [['--log', key, '--listen', '127.0.0.1:65536'], 'Write host:port'],
    [[], "required option '--log <vkey>'"],
  ] as const;
  const ends = await Promise.all(cases.map(async ([words, expected]) => ({ expected, ...(await runToEnd('witness', '--state', state, ...words)) })));
  for (const { expected, code, out, error } of ends) {
    expect(error).toContain(expected);
    expect([code, out]).toEqual([2, '']);
  }
});

test('what it has cosigned is whole and not forgotten after kill -9 at any moment', async () => {
  const state = join(await temporaryDirectory(), 'state');
  const file = join(state, originFile(log.key.name));
  let cosigned = 0;
  for (const delayMs of [0, 4, 11, 25, 60]) {
    const { child, url, vkey } = await startProgram(state);
    const exited = once(child, 'exit');
    let old = cosigned;
    let isEnding = false;
    for (;;) {
      const answer = await submit(url, log.request(old, old + 3)).catch(() => undefined);
      if (answer === undefined) break;
      if (answer.status === 200) {
        checkCosignature(answer.body, log.text(old + 3), vkey);
        cosigned = old += 3;
        if (!isEnding) setTimeout(() => child.kill('SIGKILL'), delayMs);
        isEnding = true;
      } else {
        expect(answer.status).toBe(409);
        old = Number(answer.body);
      }
    }
    expect(await exited).toEqual([null, 'SIGKILL']);
    const kept = await readFile(file, 'utf8');
    const { text } = parseNote(kept);
    const { size } = parseCheckpoint(text);
    // The last one may have been kept without an answer.
    expect([cosigned, cosigned + 3]).toContain(size);
    checkCosignature(kept.slice(log.note(size).length), log.text(size), vkey);
  }
  expect(cosigned).toBeGreaterThan(0);
});
