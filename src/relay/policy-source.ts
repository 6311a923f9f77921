/** The policy in force: read again when its file changes or SIGHUP comes; one that is not valid changes nothing. */
import { readFile } from 'node:fs/promises';
import { unwatchFile, watchFile } from 'node:fs';
import { decisionsChain } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { messageOf } from '../errors/errors.ts';
import { parsePolicy, type Policy } from '../policy/policy.ts';
import type { RelayLog } from './relay-log.ts';

/** How often the file is looked at. Polling also sees a file behind a symbolic link that is swapped. */
const watchIntervalMs = 1000;

export type PolicySourceOptions = {
  readonly file: string;
  readonly policy: Policy;
  readonly recorder: Recorder;
  /** Puts the text of a version where auditors find it, before it is in force. */
  readonly keep?: (policy: Policy) => Promise<void>;
  readonly log: RelayLog;
};

export class PolicySource {
  readonly #options: PolicySourceOptions;
  #policy: Policy;
  #error: string | undefined;
  #reloading: Promise<void> = Promise.resolve();
  readonly #listeners = new Set<() => void>();
  readonly #onFileChange = () => void this.reload();

  private constructor(options: PolicySourceOptions) {
    this.#options = options;
    this.#policy = options.policy;
  }

  /** The policy that relay.yaml was loaded with is on record before it is in force. */
  static async start(options: PolicySourceOptions): Promise<PolicySource> {
    await options.keep?.(options.policy);
    await options.recorder.record(decisionsChain, [{ kind: 'policy', policy: options.policy.digest }]);
    const source = new PolicySource(options);
    watchFile(options.file, { interval: watchIntervalMs, persistent: false }, source.#onFileChange);
    return source;
  }

  get current(): Policy {
    return this.#policy;
  }

  /** Why the file as it is now is not the one in force. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Resolves when the file has been read and is in force, or has been turned down. Never rejects. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  /** Called once another policy is in force. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#listeners.clear();
    unwatchFile(this.#options.file, this.#onFileChange);
  }

  async #reload(): Promise<void> {
    const { file, recorder, log } = this.#options;
    try {
      const policy = parsePolicy(await readFile(file, 'utf8'), file);
      if (policy.digest !== this.#policy.digest) {
        await this.#options.keep?.(policy);
        await recorder.record(decisionsChain, [{ kind: 'policy', policy: policy.digest }]);
        this.#policy = policy;
        log.info({ policy: policy.digest }, 'policy in force');
        for (const listener of this.#listeners) listener();
      }
      this.#error = undefined;
    } catch (error) {
      const reason = messageOf(error);
      if (reason === this.#error) return;
      this.#error = reason;
      log.error({ policy: this.#policy.digest, reason }, 'the policy file was not taken; the policy before it stays in force');
      await recorder.record(decisionsChain, [{ kind: 'policy', policy: this.#policy.digest, error: reason }]).catch(() => undefined);
    }
  }
}
