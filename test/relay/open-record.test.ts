/** Where checkpoints go: to witnesses that cosign them, and to a directory, a git repository and a webhook that keep them. */
import { execFileSync } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { cosignedAt, formatVerifierKey, isSignedBy, parseCheckpoint, parseNote, parseVerifierKey } from '../../src/audit/checkpoint.ts';
import { decisionsChain, type Event } from '../../src/audit/entry.ts';
import { verifyRecord } from '../../src/audit/verify.ts';
import { openRecord, type OpenRecord } from '../../src/relay/open-record.ts';
import { RecordFile, resolveRecord, type RecordConfig } from '../../src/relay/record-config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { evidenceFiles } from '../../src/store/evidence-files.ts';
import { loadLogSecrets } from '../../src/store/log-secrets.ts';
import { startWitness, type RunningWitness } from '../../src/witness/server.ts';
import { sessionOpen } from '../store/recorded-events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { eventually } from './fixture.ts';
import { startReceiver, status } from './receiver.ts';

const policy: Event = { kind: 'policy', policy: 'ab' };

type Settings = Readonly<Record<string, unknown>>;

async function open(state: string, settings: Settings): Promise<{ record: OpenRecord; config: RecordConfig }> {
  const config = resolveRecord(RecordFile.parse({ reserveMegabytes: 0, ...settings }), state);
  const secrets = await loadLogSecrets(join(state, 'log'), undefined, config);
  const record = await openRecord(state, secrets, config, createRelayLog('silent'));
  onTestFinished(() => record.close());
  return { record, config };
}

async function witnessOf(state: string): Promise<RunningWitness> {
  const { key } = await loadLogSecrets(join(state, 'log'));
  const stateDirectory = join(await temporaryDirectory(), 'witness');
  const logs = [parseVerifierKey(formatVerifierKey(key))];
  const witness = await startWitness({ stateDirectory, logs, listen: { host: '127.0.0.1', port: 0 }, warn: () => undefined });
  onTestFinished(() => witness.stop());
  return witness;
}

const checkpointOf = async (state: string) => parseNote(await readFile(join(state, 'log/checkpoint'), 'utf8'));

test('each checkpoint is cosigned, over many sizes of the tree, also after the witness was away', async () => {
  const state = await temporaryDirectory();
  const witness = await witnessOf(state);
  const key = parseVerifierKey(witness.verifierKey);
  const { record } = await open(state, { witnesses: [{ url: witness.url, key: witness.verifierKey }] });
  const isCosigned = async () => {
    const note = await checkpointOf(state);
    const { size } = parseCheckpoint(note.text);
    return size === record.recorder.publisher.published.checkpoint.size && cosignedAt(note, key) !== undefined;
  };
  for (const count of [1, 2, 6, 250, 300, 1]) {
    for (let left = count; left > 0; left--) void record.recorder.record(decisionsChain, [policy]);
    await record.recorder.publish();
    await eventually('the checkpoint is cosigned', isCosigned);
  }
  expect(record.witnesses.problems.size).toBe(0);
  await record.close();
  const report = await verifyRecord({ evidence: evidenceFiles(join(state, 'log')), keys: [], keyBeside: formatVerifierKey((await loadLogSecrets(join(state, 'log'))).key), witnesses: [witness.verifierKey], witnessesMin: 1 });
  expect([report.result, report.counts.witnesses]).toEqual(['intact', 1]);
  await witness.stop();
  const { record: again } = await open(state, { witnesses: [{ url: witness.url, key: witness.verifierKey }] });
  await again.recorder.record(decisionsChain, [policy]);
  await again.recorder.publish();
  await eventually('it is told that the witness is away', () => again.witnesses.problems.size === 1);
  expect(again.recorder.isAvailable).toBe(true);
});

test('a witness that answers nonsense, or with a signature of somebody else, does not count', async () => {
  const state = await temporaryDirectory();
  const witness = await witnessOf(state);
  const answers = ['', 'nonsense', '— other AAAA\n', `— ${parseVerifierKey(witness.verifierKey).name} ${Buffer.alloc(76).toString('base64')}\n`];
  const receiver = await startReceiver((response, number) => response.writeHead(200).end(answers[number % answers.length]));
  const { record } = await open(state, { witnesses: [{ url: receiver.url.origin, key: witness.verifierKey }] });
  for (const number of answers.keys()) {
    await record.recorder.record(decisionsChain, [policy]);
    await record.recorder.publish();
    await eventually('it was asked', () => receiver.received.length > number);
  }
  expect(record.witnesses.problems.size).toBe(1);
  expect((await checkpointOf(state)).signatures).toHaveLength(1);
});

test('checkpoints are put into a directory, a git repository with its remote, and a webhook; the last one when the relay stops', async () => {
  const [state, place] = [await temporaryDirectory(), await temporaryDirectory()];
  const git = (...args: string[]) => execFileSync('git', args, { cwd: place, encoding: 'utf8' });
  git('init', '-q', '--bare', 'remote.git');
  git('init', '-q', 'repository');
  git('-C', 'repository', 'remote', 'add', 'origin', '../remote.git');
  const receiver = await startReceiver(status(204));
  const checkpoints = [{ directory: join(place, 'kept') }, { git: join(place, 'repository'), remote: 'origin' }, { webhook: receiver.url.href }];
  const { record } = await open(state, { checkpoints });
  await record.recorder.record('s_1', [sessionOpen]);
  await record.close();
  const last = await readFile(join(state, 'log/checkpoint'), 'utf8');
  const { size } = parseCheckpoint(parseNote(last).text);
  const names = (await readdir(join(place, 'kept'))).toSorted();
  expect(names.at(-1)).toBe(`${String(size).padStart(15, '0')}.note`);
  expect(await readFile(join(place, 'kept', names.at(-1) ?? ''), 'utf8')).toBe(last);
  expect((await stat(join(place, 'kept', names[0] ?? ''))).mode & 0o777).toBe(0o600);
  expect(git('-C', 'remote.git', 'show', 'HEAD:checkpoint')).toBe(last);
  expect(git('-C', 'repository', 'log', '--format=%an %s').split('\n')[0]).toBe(`gate relay ${parseNote(last).text.split('\n')[0]} ${size}`);
  expect(receiver.received.at(-1)?.body).toBe(last);
  const { key } = await loadLogSecrets(join(state, 'log'));
  expect(isSignedBy(parseNote(receiver.received[0]?.body ?? ''), key)).toBe(true);
});

test('a place that cannot be reached holds nothing up', async () => {
  const [state, place] = [await temporaryDirectory(), await temporaryDirectory()];
  const { record } = await open(state, { checkpoints: [{ git: join(place, 'nothing') }, { webhook: 'http://127.0.0.1:9/' }] });
  await record.recorder.record('s_1', [sessionOpen]);
  await record.recorder.publish();
  expect(record.recorder.isAvailable).toBe(true);
});

test('below its reserve no session opens, and what is open goes on', async () => {
  const { record } = await open(await temporaryDirectory(), { reserveMegabytes: 1_000_000 });
  await expect(record.recorder.checkSpace()).rejects.toMatchObject({ code: 'record-unavailable', message: expect.stringMatching(/MiB left, and its reserve is 1000000 MiB/) });
  await record.recorder.record('s_1', [sessionOpen]);
});

test.each([
  ['a witness without TLS', { witnesses: [{ url: 'http://witness.example.org', key: 'x' }] }, /must be https/],
  ['the key of a log in place of that of a witness', { witnesses: [{ url: 'https://w.example', key: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW' }] }, /not the verifier key of a witness/],
  ['a webhook without TLS', { checkpoints: [{ webhook: 'http://example.org/' }] }, /must be https/],
  ['an origin with blanks', { origin: 'a b' }, /no blanks/],
])('%s is refused', (_, settings, message) => {
  expect(() => resolveRecord(RecordFile.parse(settings), '/')).toThrow(message);
});
