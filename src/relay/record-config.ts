/** The section `record` of relay.yaml: keys of the record, how long it is kept, and who gets its checkpoints. */
import { resolve } from 'node:path';
import * as z from 'zod/mini';
import { isKeyName, parseVerifierKey, type NoteKey } from '../audit/checkpoint.ts';
import { GateError } from '../errors/errors.ts';
import { isLoopbackHost } from '../api/loopback-host.ts';
import { Duration } from '../policy/policy-file.ts';

const Text = z.string().check(z.minLength(1));
const Days = z.int().check(z.minimum(1), z.maximum(36_500));
const listMax = 10;

const CheckpointTarget = z.union([
  z.strictObject({ directory: Text, every: z._default(Duration, 600) }),
  z.strictObject({ git: Text, remote: z.optional(Text), every: z._default(Duration, 600) }),
  z.strictObject({ webhook: z.url(), every: z._default(Duration, 600) }),
]);

export const RecordFile = z.strictObject({
  /** The name of the log, for ever: checkpoints, keys and witnesses go by it. Default: made of the host's name at the first start. */
  origin: z.optional(z.string().check(z.minLength(1), z.maxLength(200))),
  signingKeyFile: z.optional(Text),
  sealingKeyFile: z.optional(Text),
  /** Free space below which no session opens. */
  reserveMegabytes: z._default(z.int().check(z.minimum(0), z.maximum(1_000_000)), 256),
  retention: z.optional(z.strictObject({ contentDays: z.optional(Days), resultsDays: z.optional(Days) })),
  witnesses: z._default(z.array(z.strictObject({ url: z.url(), key: Text })).check(z.maxLength(listMax)), []),
  checkpoints: z._default(z.array(CheckpointTarget).check(z.maxLength(listMax)), []),
});

export type Witness = { readonly url: URL; readonly key: NoteKey };

/** Where checkpoints are put, at most so often, in seconds. */
export type CheckpointTarget =
  | { readonly kind: 'directory'; readonly path: string; readonly everySeconds: number }
  | { readonly kind: 'git'; readonly path: string; readonly remote: string | undefined; readonly everySeconds: number }
  | { readonly kind: 'webhook'; readonly url: URL; readonly everySeconds: number };

export type RecordConfig = {
  readonly origin?: string;
  readonly signingKeyFile?: string;
  readonly sealingKeyFile?: string;
  readonly reserveBytes: number;
  readonly retention: { readonly contentDays?: number; readonly resultsDays?: number };
  readonly witnesses: readonly Witness[];
  readonly checkpoints: readonly CheckpointTarget[];
};

/** Paths are relative to `base`. Fails with `config-invalid`. */
export function resolveRecord(file: z.infer<typeof RecordFile>, base: string): RecordConfig {
  const { origin, signingKeyFile, sealingKeyFile, retention } = file;
  if (origin !== undefined && !isKeyName(origin)) throw invalid('record.origin must hold no blanks and no "+"');
  return {
    ...(origin !== undefined && { origin }),
    ...(signingKeyFile !== undefined && { signingKeyFile: resolve(base, signingKeyFile) }),
    ...(sealingKeyFile !== undefined && { sealingKeyFile: resolve(base, sealingKeyFile) }),
    reserveBytes: file.reserveMegabytes * 1024 * 1024,
    retention: {
      ...(retention?.contentDays !== undefined && { contentDays: retention.contentDays }),
      ...(retention?.resultsDays !== undefined && { resultsDays: retention.resultsDays }),
    },
    witnesses: file.witnesses.map(({ url, key }) => ({ url: safeUrl(url, 'record.witnesses'), key: witnessKey(key) })),
    checkpoints: file.checkpoints.map((target): CheckpointTarget => {
      const everySeconds = target.every;
      if ('directory' in target) return { kind: 'directory', path: resolve(base, target.directory), everySeconds };
      if ('git' in target) return { kind: 'git', path: resolve(base, target.git), remote: target.remote, everySeconds };
      return { kind: 'webhook', url: safeUrl(target.webhook, 'record.checkpoints'), everySeconds };
    }),
  };
}

function witnessKey(text: string): NoteKey {
  try {
    const key = parseVerifierKey(text);
    if (key.type === 'cosignature/v1') return key;
  } catch {
    // Told below, with its place.
  }
  throw invalid('record.witnesses: key is not the verifier key of a witness', 'It looks like name+0123abcd+BAbC…, as gate witness prints it.');
}

function safeUrl(text: string, where: string): URL {
  const url = new URL(text);
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopbackHost(url.hostname))) return url;
  throw invalid(`${where}: ${text} must be https (plain http is for loopback only)`);
}

function invalid(message: string, hint?: string): GateError {
  return new GateError('config-invalid', message, hint === undefined ? {} : { hint });
}
