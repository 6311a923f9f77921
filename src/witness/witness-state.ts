/** What a witness must not forget: its key, and for each log the newest checkpoint that it has cosigned. */
import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import {
  cosignedAt,
  formatSigningKey,
  isKeyName,
  parseCheckpoint,
  parseNote,
  parseSigningKey,
  signingKey,
  type Checkpoint,
  type SigningKey,
} from '../audit/checkpoint.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { fsyncDirectory } from '../store/log-files.ts';
import { openStateDirectory } from '../store/state-directory.ts';

/** A checkpoint that is on disk for good, as a note with the cosignature. */
export type Cosigned = { readonly checkpoint: Checkpoint; readonly note: string };

export type WitnessState = {
  readonly key: SigningKey;
  /** The newest one of a log; undefined before the first. Rejects where the file cannot be read or is not one of this key. */
  latest(origin: string): Promise<Cosigned | undefined>;
  /**
   * Resolves once the note outlasts a crash. Rejects when that is not certain: `latest` then says what the disk has. One at
   * a time per origin, and only after `latest`.
   */
  store(origin: string, note: string): Promise<void>;
  /** Lets the next witness in. */
  close(): Promise<void>;
};

export type WitnessStateOptions = {
  /** Of the key; the one that the directory has by default. */
  readonly name?: string;
  /** Whose files are read at once, so that a damaged one stops the start. */
  readonly origins: readonly string[];
  /** Puts the whole text at the path, durably; another one in tests. */
  readonly write?: (path: string, text: string) => Promise<void>;
};

/** Makes the directory (0700) and the key (0600) at the first start. Fails with `config-invalid`. */
export async function openWitnessState(path: string, options: WitnessStateOptions): Promise<WitnessState> {
  const directory = await openStateDirectory(path);
  const write = options.write ?? writeDurably;
  try {
    const key = await loadKey(join(path, 'witness-key'), options.name);
    const known = new Map<string, Promise<Cosigned | undefined>>();
    const latest = (origin: string) => {
      const found = known.get(origin) ?? load(fileOf(path, origin), origin, key);
      known.set(origin, found);
      // Asked for again, it is read again.
      found.catch(() => known.get(origin) === found && known.delete(origin));
      return found;
    };
    for (const origin of options.origins) await latest(origin);
    return {
      key,
      latest,
      store: async (origin, note) => {
        try {
          await write(fileOf(path, origin), note);
          known.set(origin, Promise.resolve({ checkpoint: parseCheckpoint(parseNote(note).text), note }));
        } catch (error) {
          known.delete(origin);
          throw error;
        }
      },
      close: () => directory.close(),
    };
  } catch (error) {
    await directory.close();
    throw error;
  }
}

/** The name of a log's file, and of its path over HTTP. */
export function originHash(origin: string): string {
  return createHash('sha256').update(origin).digest('hex');
}

function fileOf(directory: string, origin: string): string {
  return join(directory, originHash(origin));
}

/** Only a file that is not there means that nothing was cosigned; any other failure is one. */
async function load(file: string, origin: string, key: SigningKey): Promise<Cosigned | undefined> {
  try {
    const text = await readFile(file, 'utf8');
    // Whoever wrote it may have died, or failed, before its name was durable.
    await fsyncDirectory(dirname(file));
    const note = parseNote(text);
    const checkpoint = parseCheckpoint(note.text);
    if (checkpoint.origin !== origin) throw new Error(`it is a checkpoint of ${checkpoint.origin}`);
    if (cosignedAt(note, key) === undefined) throw new Error(`it is not cosigned by the key of ${key.name} in this directory`);
    return { checkpoint, note: text };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new GateError('config-invalid', `the checkpoint ${file} of ${origin} cannot be used: ${messageOf(error)}`, {
      cause: error,
      hint: 'Without it the witness could be led to sign a second history. Restore it, or begin anew with another key.',
    });
  }
}

async function loadKey(file: string, name: string | undefined): Promise<SigningKey> {
  try {
    const { mode } = await stat(file);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new GateError('config-invalid', `the key ${file} is open to other users`, { hint: `chmod 600 ${file}` });
    }
    const key = parseSigningKey(await readFile(file, 'utf8'));
    if (key.type !== 'cosignature/v1') throw new Error('it is the key of a log');
    if (name !== undefined && name !== key.name) throw new Error(`it is the key of ${key.name}, not of ${name}`);
    return key;
  } catch (error) {
    if (isMissing(error)) return makeKey(file, name ?? `${hostname()}/witness`);
    if (error instanceof GateError && error.code === 'config-invalid') throw error;
    throw new GateError('config-invalid', `the key ${file} cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

async function makeKey(file: string, name: string): Promise<SigningKey> {
  if (!isKeyName(name)) {
    throw new GateError('usage', `"${name}" cannot be the name of a witness`, { hint: 'It has no blanks and no "+": --name witness.example.com/w1' });
  }
  const key = signingKey(name, randomBytes(32), 'cosignature/v1');
  await writeDurably(file, `${formatSigningKey(key)}\n`);
  return key;
}

/** The file is the old one or the new one, whole, at whichever moment the machine stops. */
async function writeDurably(path: string, text: string): Promise<void> {
  const next = `${path}.new`;
  const file = await open(next, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
  await fsyncDirectory(dirname(path));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
