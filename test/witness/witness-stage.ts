/** A log that can also lie, a witness to submit its checkpoints to, and a check of cosignatures that shares no code with gate. */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { formatCheckpoint, formatVerifierKey, parseVerifierKey, signingKey, signNote } from '../../src/audit/checkpoint.ts';
import { consistencyProof, leafHash, nodeHash, rootOf, type Hash } from '../../src/audit/tree.ts';
import { formatAddCheckpoint } from '../../src/audit/witness-request.ts';
import { startWitness, type RunningWitness, type WitnessSettings } from '../../src/witness/server.ts';

/** Its leaf `n` is "entry n", and from `forkedAt` on another one: two logs with one key are two histories of one log. */
export class SomeLog {
  readonly key;
  readonly #forkedAt: number;

  constructor(options: { origin?: string; forkedAt?: number; seed?: number } = {}) {
    this.key = signingKey(options.origin ?? 'relay.example/log', Buffer.alloc(32, options.seed ?? 7));
    this.#forkedAt = options.forkedAt ?? Infinity;
  }

  readonly #subtree = (level: number, index: number): Hash => {
    if (level > 0) return nodeHash(this.#subtree(level - 1, index * 2), this.#subtree(level - 1, index * 2 + 1));
    return leafHash(Buffer.from(index < this.#forkedAt ? `entry ${index}` : `forged ${index}`));
  };

  root(size: number): Hash {
    return rootOf(size, this.#subtree);
  }

  proof(from: number, size: number): Hash[] {
    return consistencyProof(from, size, this.#subtree);
  }

  /** Lines without the signature. */
  text(size: number, extension = ''): string {
    return formatCheckpoint({ origin: this.key.name, size, root: this.root(size) }) + extension;
  }

  note(size: number): string {
    return signNote(this.text(size), this.key);
  }

  request(old: number, size: number): string {
    return formatAddCheckpoint({ old, proof: this.proof(old, size), note: this.note(size) });
  }
}

export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gate-witness-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

export type StagedWitness = RunningWitness & { readonly directory: string; readonly warnings: readonly string[] };

export async function startStagedWitness(options: Partial<WitnessSettings> & { origins?: readonly SomeLog[] } = {}): Promise<StagedWitness> {
  const directory = options.stateDirectory ?? join(await temporaryDirectory(), 'state');
  const warnings: string[] = [];
  const logs = (options.origins ?? [new SomeLog()]).map(({ key }) => parseVerifierKey(formatVerifierKey(key)));
  const witness = await startWitness({
    name: 'witness.example/w1',
    logs,
    listen: { host: '127.0.0.1', port: 0 },
    warn: (line) => warnings.push(line),
    ...options,
    stateDirectory: directory,
  });
  let stopped: Promise<void> | undefined;
  const stop = () => (stopped ??= witness.stop());
  onTestFinished(stop);
  return { ...witness, stop, directory, warnings };
}

export type Answer = { readonly status: number; readonly type: string; readonly body: string };

export async function submit(url: string, body: string | Uint8Array<ArrayBuffer>): Promise<Answer> {
  const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body });
  return { status: response.status, type: response.headers.get('content-type') ?? '', body: await response.text() };
}

/** Of an answer 200: when the key has cosigned this text. By the letter of C2SP tlog-cosignature, or it throws. */
export function checkCosignature(answer: string, text: string, verifierKey: string): number {
  const [name = '', id = '', ...rest] = verifierKey.split('+');
  const typed = Buffer.from(rest.join('+'), 'base64');
  const key = typed.subarray(1);
  const expectedId = createHash('sha256').update(Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(4), key])).digest('hex').slice(0, 8);
  if (typed[0] !== 4 || key.length !== 32 || id !== expectedId) throw new Error('not the verifier key of a witness');
  const lines = answer.split('\n');
  const [dash, signer, base64 = ''] = lines[0]?.split(' ') ?? [];
  if (lines.length !== 2 || lines[1] !== '' || dash !== '—' || signer !== name) throw new Error('not one signature line of this witness');
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== 76 || bytes.subarray(0, 4).toString('hex') !== id) throw new Error('not a cosignature of this key');
  const seconds = bytes.readBigUInt64BE(4);
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') }, format: 'jwk' });
  if (!verify(null, Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`), publicKey, bytes.subarray(12))) throw new Error('the cosignature is not good');
  return Number(seconds);
}

export function originFile(origin: string): string {
  return createHash('sha256').update(origin).digest('hex');
}
