/** The data keys that seal what sessions do: two for each session, wrapped by the sealing key, and deleted to erase. */
import { createHmac, hash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { Link } from '../audit/entry.ts';
import { decrypt, encrypt, nonceBytes } from '../audit/aead.ts';
import { dataKeyBytes, type KeyClass } from '../audit/seal.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { makeDurableDirectory, realLogFiles, replaceFile, type LogFiles } from './log-files.ts';

export const keyClasses = ['content', 'results'] as const satisfies readonly KeyClass[];

const Person = z.object({
  issuer: z.string(),
  subject: z.string(),
  name: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  groups: z.array(z.string()),
  chain: z.exactOptional(z.readonly(z.array(Link))),
});
export type KeyPerson = z.infer<typeof Person>;

/** One file. A class that is neither wrapped nor shredded never had a key. */
const KeyFile = z.object({
  v: z.literal(1),
  session: z.string(),
  /** Which sealing key wraps: the first 16 hex digits of its SHA-256. */
  kek: z.string(),
  createdAt: z.string(),
  /** nonce, ciphertext and tag in base64. */
  wrapped: z.record(z.string(), z.string()),
  shredded: z.array(z.enum(keyClasses)),
  /** While it stands, nothing is shredded. */
  hold: z.optional(z.object({ by: Person, at: z.string(), reason: z.string() })),
  /** One of two has asked. */
  shredRequest: z.optional(z.object({ by: Person, at: z.string(), reason: z.string() })),
  /** It is decided, and perhaps on record already: what a crash has cut short goes on with this. */
  shredding: z.optional(z.object({ classes: z.array(z.enum(keyClasses)), by: z.array(Person), reason: z.string() })),
});
export type KeyFile = z.infer<typeof KeyFile>;

/** What the log asks for, without waiting: the key of a session that is open now. */
export interface SealingKeys {
  keyOf(session: string, key: KeyClass): Buffer | undefined;
  /** For reading: `shredded` and `missing` ones are told apart. */
  find(session: string, key: KeyClass): Promise<Buffer | 'shredded' | 'missing'>;
}

type DataKeys = Readonly<Record<KeyClass, Buffer>>;

export class SessionKeys implements SealingKeys {
  readonly #directory: string;
  readonly #sealingKey: Buffer;
  readonly #kek: string;
  readonly #files: LogFiles;
  /** Of sessions that are open. */
  readonly #live = new Map<string, DataKeys>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Takes away what is kept of a session's contents elsewhere. */
  onShred: (session: string) => Promise<void> = async () => {};
  readonly #ensuring = new Map<string, Promise<void>>();

  private constructor(directory: string, sealingKey: Buffer, files: LogFiles) {
    this.#directory = directory;
    this.#sealingKey = sealingKey;
    this.#kek = hash('sha256', sealingKey, 'hex').slice(0, 16);
    this.#files = files;
  }

  static async open(directory: string, sealingKey: Buffer, files: LogFiles = realLogFiles): Promise<SessionKeys> {
    await makeDurableDirectory(files, directory);
    return new SessionKeys(directory, sealingKey, files);
  }

  /** One decision about keys at a time: what it has looked at holds until it is done. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  isLive(session: string): boolean {
    return this.#live.has(session);
  }

  /** Has the keys of a session at hand, made now if it is new; durable when this resolves. Fails with `record-unavailable`. */
  ensure(session: string): Promise<void> {
    let ensuring = this.#ensuring.get(session);
    if (ensuring === undefined) {
      ensuring = this.#ensure(session).finally(() => this.#ensuring.delete(session));
      this.#ensuring.set(session, ensuring);
    }
    return ensuring;
  }

  async #ensure(session: string): Promise<void> {
    const file = await this.load(session);
    if (file === undefined) return this.#create(session);
    const [content, results] = await Promise.all(keyClasses.map((key) => this.find(session, key)));
    if (!Buffer.isBuffer(content) || !Buffer.isBuffer(results)) throw unavailable(`the keys of session ${session} have been shredded`);
    this.#live.set(session, { content, results });
  }

  async #create(session: string): Promise<void> {
    const keys = { content: randomBytes(dataKeyBytes), results: randomBytes(dataKeyBytes) };
    const wrapped = { content: this.#wrap(keys.content, session, 'content'), results: this.#wrap(keys.results, session, 'results') };
    const file: KeyFile = { v: 1, session, kek: this.#kek, createdAt: new Date().toISOString(), wrapped, shredded: [] };
    try {
      await this.#save(file);
    } catch (error) {
      throw unavailable(`the keys of the record cannot be written: ${messageOf(error)}`, error);
    }
    this.#live.set(session, keys);
  }

  /** The session is over: nothing more is sealed for it. */
  release(session: string): void {
    this.#live.delete(session);
  }

  keyOf(session: string, key: KeyClass): Buffer | undefined {
    return this.#live.get(session)?.[key];
  }

  async find(session: string, key: KeyClass): Promise<Buffer | 'shredded' | 'missing'> {
    const live = this.#live.get(session)?.[key];
    if (live !== undefined) return live;
    const file = await this.load(session);
    if (file?.shredded.includes(key) === true) return 'shredded';
    const wrapped = file?.wrapped[key];
    return wrapped === undefined ? 'missing' : this.#unwrap(wrapped, session, key);
  }

  /** Tells whether two texts are the same, and lets nobody without the sealing key look for what they were. In hex. */
  digestOf(text: string): string {
    return createHmac('sha256', this.#sealingKey).update(`gate/digest/v1\n${text}`).digest('hex');
  }

  async load(session: string): Promise<KeyFile | undefined> {
    if (!/^[\w-]{1,100}$/.test(session)) return undefined;
    let text: string;
    try {
      text = await readFile(this.#path(session), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const parsed = KeyFile.safeParse(parseJson(text));
    if (parsed.success && parsed.data.session === session) return parsed.data;
    throw new GateError('record-damaged', `the file of the keys of session ${session} is damaged`);
  }

  /** Of every session whose keys are not all gone. Throws `record-damaged` for one that cannot be read, behind all the others. */
  async *all(): AsyncGenerator<KeyFile> {
    const problems: GateError[] = [];
    for (const name of await readdir(this.#directory)) {
      const session = /^([\w-]+)\.json$/.exec(name)?.[1];
      const file = session === undefined ? undefined : await this.load(session).catch((error: unknown) => void problems.push(damageIn(error)));
      if (file !== undefined && Object.keys(file.wrapped).length > 0) yield file;
    }
    if (problems[0] !== undefined) throw problems[0];
  }

  /** Sets or, with undefined, lifts the mark; durable when this resolves. */
  async mark(session: string, marks: { readonly [K in 'hold' | 'shredRequest' | 'shredding']?: KeyFile[K] | undefined }): Promise<void> {
    const file = await this.load(session);
    if (file === undefined) return;
    const next = { ...file, ...marks };
    if (next.hold === undefined) delete next.hold;
    if (next.shredRequest === undefined) delete next.shredRequest;
    if (next.shredding === undefined) delete next.shredding;
    await this.#save(next);
  }

  /** Deletes the keys of these classes for good. What a copy of the directory holds is not in its power. */
  async shred(session: string, classes: readonly KeyClass[]): Promise<void> {
    const file = await this.load(session);
    if (file === undefined) return;
    this.#live.delete(session);
    // What else is known of the session goes first: a crash in between has it done again.
    if (classes.includes('content')) await this.onShred(session);
    const wrapped = Object.fromEntries(Object.entries(file.wrapped).filter(([key]) => !classes.some((one) => one === key)));
    const { shredRequest, shredding: _, ...rest } = file;
    // Where only one class goes by its time, what one of two has asked for still stands.
    const isPending = shredRequest !== undefined && Object.keys(wrapped).length > 0;
    await this.#save({ ...rest, ...(isPending && { shredRequest }), wrapped, shredded: [...new Set([...file.shredded, ...classes])] });
    // Something late may have asked for them meanwhile.
    await this.#ensuring.get(session)?.catch(() => undefined);
    this.#live.delete(session);
  }

  #path(session: string): string {
    return join(this.#directory, `${session}.json`);
  }

  async #save(file: KeyFile): Promise<void> {
    await replaceFile(this.#files, this.#path(file.session), Buffer.from(`${JSON.stringify(file)}\n`));
  }

  #wrap(dataKey: Buffer, session: string, key: KeyClass): string {
    return encrypt(dataKey, contextOf(session, key), this.#sealingKey, randomBytes(nonceBytes)).toString('base64');
  }

  #unwrap(wrapped: string, session: string, key: KeyClass): Buffer {
    try {
      return decrypt(Buffer.from(wrapped, 'base64'), contextOf(session, key), this.#sealingKey);
    } catch (error) {
      throw new GateError('record-damaged', `the keys of session ${session} do not open with the sealing key of this relay`, { cause: error });
    }
  }
}

/** Anything else is no matter of one file. */
function damageIn(error: unknown): GateError {
  if (error instanceof GateError && error.code === 'record-damaged') return error;
  throw error;
}

function contextOf(session: string, key: KeyClass): string {
  return `gate/data-key/v1\n${session}\n${key}\n`;
}

function unavailable(message: string, cause?: unknown): GateError {
  return new GateError('record-unavailable', message, {
    hint: 'Nothing runs unrecorded. Once the relay can write to its state directory again, it goes on by itself.',
    cause,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
