/** Another signing key: whoever trusts the old one can follow, and a rotation that was cut short is finished or harmless. */
import { copyFile, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { formatVerifierKey } from '../../src/audit/checkpoint.ts';
import { verifyRecord } from '../../src/audit/verify.ts';
import { evidenceFiles } from '../../src/store/evidence-files.ts';
import { loadLogSecrets } from '../../src/store/log-secrets.ts';
import { openLog } from '../../src/store/log.ts';
import { finishRotation, rotateKey } from '../../src/store/rotate-key.ts';
import { connectionOpen, sessionClose, sessionOpen } from './recorded-events.ts';
import { temporaryDirectory } from './temporary-directory.ts';

async function record(directory: string, session: string): Promise<void> {
  const secrets = await loadLogSecrets(directory);
  await finishRotation(directory, secrets.key);
  const log = await openLog(directory, { secrets });
  await log.record('decisions', [{ kind: 'grant', grant: 'g1', who: who(), target: 'prod-db', role: 'reader', expiresAt: '2026-11-02T11:00:00.000Z', policy: 'ab' }]);
  await log.record(session, [sessionOpen, sessionClose]);
  await log.close();
}

function who() {
  return { issuer: 'i', subject: 's', kind: 'human' as const, name: 'n', groups: [] };
}

async function verified(directory: string, key: string): Promise<string> {
  const report = await verifyRecord({ evidence: evidenceFiles(directory), keys: [key], keyBeside: undefined, checkpoints: [], receipts: [], witnesses: [], witnessesMin: undefined });
  return [report.result, ...report.findings.map(({ kind }) => kind)].join(' ');
}

async function newLog(): Promise<{ directory: string; keyFile: string; first: string }> {
  const directory = join(await temporaryDirectory(), 'log');
  await record(directory, 'one');
  return { directory, keyFile: join(directory, '..', 'log-key'), first: formatVerifierKey((await loadLogSecrets(directory)).key) };
}

test('the old key leads to the new one, twice, and the private part of the old one is gone', async () => {
  const { directory, keyFile, first } = await newLog();
  const old = await readFile(keyFile, 'utf8');
  const rotation = await rotateKey(directory, {});
  expect(rotation.from).toBe(first);
  await record(directory, 'two');
  const second = await rotateKey(directory, {});
  expect(second.from).toBe(rotation.to);
  await record(directory, 'three');
  for (const key of [first, rotation.to, second.to]) expect(await verified(directory, key)).toBe('intact');
  expect(await readFile(keyFile, 'utf8')).not.toBe(old);
  expect(await readdir(join(directory, 'rotations'))).toHaveLength(2);
});

test('cut short before the key is in place: the old one stays in force, and the announcement is told until the next one', async () => {
  const { directory, keyFile, first } = await newLog();
  await copyFile(keyFile, `${keyFile}.old`);
  await rotateKey(directory, {});
  await copyFile(`${keyFile}.old`, keyFile);
  await rm(join(directory, 'rotations'), { recursive: true });
  await record(directory, 'two');
  expect(await verified(directory, first)).toBe('incomplete rotation-pending');
  const again = await rotateKey(directory, {});
  await record(directory, 'three');
  expect(await verified(directory, first)).toBe('intact');
  expect(await verified(directory, again.to)).toBe('intact');
});

test('cut short behind it: the next start keeps the checkpoint that both keys have signed', async () => {
  const { directory, first } = await newLog();
  const { to, size } = await rotateKey(directory, {});
  await rm(join(directory, 'rotations'), { recursive: true });
  await record(directory, 'two');
  expect(await readdir(join(directory, 'rotations'))).toEqual([String(size)]);
  for (const key of [first, to]) expect(await verified(directory, key)).toBe('intact');
});

test('entries that were not covered yet when the process died are, once the log is opened again', async () => {
  const { directory, first } = await newLog();
  const log = await openLog(directory, { publishMs: 1_000_000_000 });
  await log.record('late', [sessionOpen, connectionOpen(), { kind: 'connection.close', connection: 1, reason: 'x', bytesIn: 0, bytesOut: 0 }, sessionClose]);
  expect(await verified(directory, first)).toMatch(/^incomplete/);
  const again = await openLog(directory);
  expect(await verified(directory, first)).toBe('intact');
  await again.close();
});
