/** docs/audit-format.md against the code: its example verifies, its kinds are those of the log, and the command ends as it says. */
import { execFile, execFileSync } from 'node:child_process';
import { createDecipheriv } from 'node:crypto';
import { readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { Event } from '../../src/audit/entry.ts';
import { hashOf } from '../../src/audit/line.ts';
import { encodeBundle } from '../../src/audit/tiles.ts';
import { leafHash } from '../../src/audit/tree.ts';
import { verifyRecord } from '../../src/audit/verify.ts';
import { evidenceFiles } from '../../src/store/evidence-files.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { Files, verifyBoth, writeFiles } from './verify-stage.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/audit-format.md'), 'utf8');

/** The fenced block of this name. */
function block(name: string): string {
  const text = page.split('\n```').map((part) => part.split('\n')).find(([head]) => head?.endsWith(` ${name}`));
  return text?.slice(1).join('\n') ?? expect.fail(`no block ${name}`);
}

let files: Files;
let entries: Buffer[];

beforeAll(() => {
  entries = block('entries').split('\n').map((line) => Buffer.from(line));
  files = new Files(
    new Map([
      ...['checkpoint', 'log-key.pub', 'sealed/s_1.ndl', 'receipts/s_1.json'].map((path) => [path, Buffer.from(`${block(path)}\n`)] as const),
      ['tile/entries/000.p/5', encodeBundle(entries)],
      ['tile/0/000.p/5', Buffer.concat(entries.map(leafHash))],
    ]),
  );
});

test('the bundle of the page is intact, by its keys and its witness', async () => {
  const report = await verifyBoth(files, { keys: [block('log-key.pub')], witnesses: [block('witness')] });
  expect(report).toMatchObject({ exitCode: 0, findings: [], counts: { entries: 5, sessions: 1, statements: 1, sealed: 1, witnesses: 1, receipts: 1 } });
  expect(block('leaves').split('\n')).toEqual(entries.map((entry) => `${entry.length} ${hashOf(entry)} ${leafHash(entry).toString('hex')}`));
});

test('what is sealed opens as the page says, from the sealing key on', () => {
  const [, wrapped = '', dataKey = '', text = ''] = /`wrapped.content` is `([^`]+)`[^]*?data key `([0-9a-f]+)`[^]*?is\s+`([^`]+)`/.exec(page) ?? [];
  const open = (bytes: Buffer, key: Buffer, context: string): Buffer => {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12)).setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-16));
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
  };
  const key = open(Buffer.from(wrapped, 'base64'), Buffer.alloc(32, 3), 'gate/data-key/v1\ns_1\ncontent\n');
  expect(key.toString('hex')).toBe(dataKey);
  const { data } = JSON.parse(block('sealed/s_1.ndl')) as { data: string };
  expect(open(Buffer.from(data, 'base64'), key, 'gate/sealed/v1\ns_1\n2\ncontent\n').toString()).toBe(text);
});

test('the page and the stand-alone verifier know every kind of event', () => {
  const kinds = Event.def.options.map((option) => [...option.def.shape.kind.def.values][0] as string);
  const known = /const kinds = new Set\(([^]*?)\);/.exec(readFileSync(join(root, 'docs/audit-verify.mjs'), 'utf8'))?.[1]?.match(/[a-z]+(?:\.[a-z]+)*/g)?.filter((word) => word !== 'split');
  expect(known?.toSorted()).toEqual(kinds.toSorted());
  for (const kind of kinds) expect(page).toContain(`| \`${kind}\` |`);
});

test('both commands end with the code of the page', async () => {
  const directory = await temporaryDirectory();
  await writeFiles(directory, files);
  const run = (program: string[]): Promise<{ code: unknown; stdout: string; stderr: string }> =>
    new Promise((resolve) => {
      execFile(process.execPath, program, { cwd: root }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }));
    });
  const gate = ['--import', 'tsx', 'bin/gate.ts', 'audit', 'verify'];
  const key = block('log-key.pub');
  const [intact, alone, missing, nowhere, json] = await Promise.all([
    run([...gate, directory, '--key', key, '--witness', block('witness'), '--receipt', join(directory, 'receipts/s_1.json')]),
    run(['docs/audit-verify.mjs', '--key', key, directory]),
    run(gate),
    run([...gate, join(directory, 'nowhere')]),
    run([...gate, '--json', directory, '--witness', block('witness'), '--checkpoint', join(directory, 'log-key.pub')]),
  ]);
  expect(intact).toMatchObject({ code: 0, stderr: '' });
  expect(intact.stdout).toMatch(/^log +gate.example.com\/audit\nsize +5 entries\n[^]*\nintact\n$/);
  expect(alone).toMatchObject({ code: 0, stdout: expect.stringMatching(/intact\n$/) as unknown });
  expect(missing).toMatchObject({ code: 2, stdout: '' });
  expect(nowhere).toMatchObject({ code: 3, stdout: expect.stringMatching(/\ncannot tell\n$/) as unknown });
  expect(json.code).toBe(3);
  expect(JSON.parse(json.stdout)).toMatchObject({ result: 'cannot-tell', exitCode: 3, findings: [{ kind: 'checkpoint-unreadable', severity: 'unknown' }] });
  expect(json.stderr).toContain('"event":"warning"');
});

test.each<[string, (path: string) => void, readonly number[]]>([
  ['a pipe', (path) => void execFileSync('mkfifo', [path]), [3, 3]],
  ['a device', (path) => symlinkSync('/dev/zero', path), [3, 3]],
  ['two gigabytes of nothing', (path) => execFileSync('truncate', ['-s', '2G', path]), [1, 1]],
])('%s in a bundle from elsewhere keeps nobody waiting', async (_, make, expected) => {
  const directory = await temporaryDirectory();
  await writeFiles(directory, files);
  const keys = [block('log-key.pub')];
  for (const path of ['receipts/s_1.json', 'sealed/s_1.ndl']) {
    rmSync(join(directory, path));
    make(join(directory, path));
  }
  const alone = new Promise((resolve) => {
    execFile(process.execPath, ['docs/audit-verify.mjs', '--key', keys.join(), directory], { cwd: root, timeout: 5000 }, (error) => resolve(error?.code ?? 0));
  });
  const { exitCode } = await verifyRecord({ evidence: evidenceFiles(directory), keys });
  expect([exitCode, await alone]).toEqual(expected);
});
