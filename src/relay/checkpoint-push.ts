/** Puts checkpoints where whoever holds the relay cannot take them back: a directory, a git repository, a webhook. */
import { execFile } from 'node:child_process';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseCheckpoint, parseNote } from '../audit/checkpoint.ts';
import { messageOf } from '../errors/errors.ts';
import type { Publisher } from '../store/publisher.ts';
import { gitEnvironment } from './config.ts';
import type { CheckpointTarget } from './record-config.ts';
import type { RelayLog } from './relay-log.ts';

const webhookTimeoutMs = 10_000;
const gitTimeoutMs = 60_000;
/** How long the end of the relay waits for the last one to be put away. */
const lastPushMs = 5000;

const run = promisify(execFile);

/** Each target gets the newest checkpoint at most so often as it says, and the last one when the relay stops. */
export class CheckpointPush {
  readonly #pushes: { readonly target: CheckpointTarget; readonly timer: NodeJS.Timeout; size: number; busy: Promise<void> }[];
  readonly #publisher: Publisher;
  readonly #log: RelayLog;

  constructor(targets: readonly CheckpointTarget[], publisher: Publisher, log: RelayLog) {
    this.#publisher = publisher;
    this.#log = log;
    this.#pushes = targets.map((target, index) => ({
      target,
      timer: setInterval(() => void this.#push(index), target.everySeconds * 1000).unref(),
      size: -1,
      busy: Promise.resolve(),
    }));
    for (const index of this.#pushes.keys()) void this.#push(index);
  }

  async stop(): Promise<void> {
    for (const { timer } of this.#pushes) clearInterval(timer);
    const last = Promise.all([...this.#pushes.keys()].map((index) => this.#push(index)));
    await Promise.race([last, new Promise((resolve) => setTimeout(resolve, lastPushMs).unref())]);
  }

  #push(index: number): Promise<void> {
    const push = this.#pushes[index];
    if (push === undefined) return Promise.resolve();
    push.busy = push.busy.then(async () => {
      const { note, checkpoint } = this.#publisher.published;
      if (checkpoint.size === push.size) return;
      try {
        await pushTo(push.target, note);
        push.size = checkpoint.size;
      } catch (error) {
        // What git and others print may hold a URL with a password.
        this.#log.warn({ kind: push.target.kind, reason: reasonOf(error) }, 'a checkpoint could not be put away');
      }
    });
    return push.busy;
  }
}

export async function pushTo(target: CheckpointTarget, note: string): Promise<void> {
  const { size, origin } = parseCheckpoint(parseNote(note).text);
  switch (target.kind) {
    case 'directory':
      return writeOnce(target.path, `${String(size).padStart(15, '0')}.note`, note);
    case 'git': {
      const git = (...args: string[]) => run('git', ['-C', target.path, ...args], { timeout: gitTimeoutMs, env: gitEnvironment() });
      await writeFile(join(target.path, 'checkpoint'), note);
      await git('add', 'checkpoint');
      const identity = ['-c', 'user.name=gate relay', '-c', 'user.email=gate@localhost', '-c', 'commit.gpgsign=false'];
      await git(...identity, 'commit', '-q', '--allow-empty', '-m', `${origin} ${size}`, '--', 'checkpoint');
      if (target.remote !== undefined) await git('push', '-q', target.remote, 'HEAD');
      return;
    }
    case 'webhook': {
      const response = await fetch(target.url, {
        method: 'POST',
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        body: note,
        redirect: 'error',
        signal: AbortSignal.timeout(webhookTimeoutMs),
      });
      await response.body?.cancel();
      if (!response.ok) throw new Error(`the webhook answers ${response.status}`);
    }
  }
}

/** A name of its own for each, so that the directory may be one that lets nothing be written over. */
async function writeOnce(directory: string, name: string, note: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, name);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(note);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // Cosignatures may differ, but a crash or a full disk may have left a part of it, and somebody another tree.
    const known = await readFile(path, 'utf8');
    if (!known.startsWith(`${parseNote(note).text}\n`)) throw new Error(`${name} is there already, and is not this checkpoint`, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  const { code, killed } = error as { code?: unknown; killed?: boolean };
  if (killed === true) return 'git took too long';
  return typeof code === 'number' ? `git ended with ${code}` : messageOf(error).replaceAll(/:\/\/\S+/g, '://…');
}
