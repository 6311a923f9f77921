/** What the demo provider remembers: signing keys, cookie keys, and its grants, tokens and sessions, in one file. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';

/** What oidc-provider stores; the fields named here are those that it looks things up by. */
const Payload = z.looseObject({
  uid: z.optional(z.string()),
  userCode: z.optional(z.string()),
  grantId: z.optional(z.string()),
});
const Contents = z.object({
  keys: z.array(z.looseObject({ kty: z.string(), kid: z.string() })),
  cookieKeys: z.array(z.string()),
  /** `expiresAt` in milliseconds since 1970; without it the entry stays. */
  entries: z.record(z.string(), z.object({ payload: Payload, expiresAt: z.optional(z.number()) })),
});
type Payload = z.infer<typeof Payload>;
type Contents = z.infer<typeof Contents>;
type Entry = Contents['entries'][string];

const KEYS_MAX = 3;

/** With a file every change is on disk before it is answered (not fsynced); without one it lives in memory. */
export class ProviderState {
  readonly #file: string | undefined;
  readonly #contents: Contents;

  private constructor(file: string | undefined, contents: Contents) {
    this.#file = file;
    this.#contents = contents;
  }

  static async open(file: string | undefined): Promise<ProviderState> {
    const stored = file === undefined ? undefined : readContents(file);
    const state = new ProviderState(
      file,
      stored ?? { keys: [], cookieKeys: [randomBytes(32).toString('base64url')], entries: {} },
    );
    if (stored === undefined) await state.rotateKeys();
    return state;
  }

  /** Private keys as JWKs; the first one signs. */
  get keys(): readonly JWK[] {
    return this.#contents.keys;
  }

  get cookieKeys(): readonly string[] {
    return this.#contents.cookieKeys;
  }

  /** A new key signs from now on. The last ones stay published, so that tokens already out keep verifying. */
  async rotateKeys(): Promise<void> {
    const { privateKey } = await generateKeyPair('RS256', { extractable: true });
    const kid = randomBytes(8).toString('hex');
    const key = { ...(await exportJWK(privateKey)), kty: 'RSA', kid, alg: 'RS256', use: 'sig' };
    this.#contents.keys = [key, ...this.#contents.keys].slice(0, KEYS_MAX);
    this.#save();
  }

  /** The storage that oidc-provider asks for, one instance per kind of object. */
  adapter(model: string): Adapter {
    const { entries } = this.#contents;
    const save = (): void => this.#save();
    const find = (id: string): Payload | undefined => {
      const entry = entries[`${model}:${id}`];
      return entry && !isExpired(entry) ? entry.payload : undefined;
    };
    const findBy = (field: 'uid' | 'userCode', value: string): Payload | undefined =>
      Object.entries(entries).find(
        ([key, entry]) => key.startsWith(`${model}:`) && entry.payload[field] === value && !isExpired(entry),
      )?.[1].payload;
    return {
      async upsert(id, payload, expiresIn) {
        const expiresAt = expiresIn > 0 ? { expiresAt: Date.now() + expiresIn * 1000 } : {};
        entries[`${model}:${id}`] = { payload, ...expiresAt };
        save();
      },
      find: async (id) => find(id),
      findByUid: async (uid) => findBy('uid', uid),
      findByUserCode: async (userCode) => findBy('userCode', userCode),
      async consume(id) {
        const payload = find(id);
        if (payload !== undefined) payload['consumed'] = Math.floor(Date.now() / 1000);
        save();
      },
      async destroy(id) {
        delete entries[`${model}:${id}`];
        save();
      },
      async revokeByGrantId(grantId) {
        for (const [key, { payload }] of Object.entries(entries)) if (payload.grantId === grantId) delete entries[key];
        save();
      },
    };
  }

  #save(): void {
    const { entries } = this.#contents;
    for (const [key, entry] of Object.entries(entries)) if (isExpired(entry)) delete entries[key];
    if (this.#file === undefined) return;
    // Written beside and renamed: a crash leaves the old file or the new one.
    const draft = `${this.#file}.new`;
    writeFileSync(draft, JSON.stringify(this.#contents), { mode: 0o600 });
    renameSync(draft, this.#file);
  }
}

export type Adapter = {
  upsert(id: string, payload: Payload, expiresIn: number): Promise<void>;
  find(id: string): Promise<Payload | undefined>;
  findByUid(uid: string): Promise<Payload | undefined>;
  findByUserCode(userCode: string): Promise<Payload | undefined>;
  consume(id: string): Promise<void>;
  destroy(id: string): Promise<void>;
  revokeByGrantId(grantId: string): Promise<void>;
};

function isExpired(entry: Entry): boolean {
  return entry.expiresAt !== undefined && entry.expiresAt <= Date.now();
}

function readContents(file: string): Contents | undefined {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  try {
    return Contents.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new GateError('usage', `${file} cannot be read as the provider's state: ${messageOf(error)}`, {
      hint: 'Remove the file; keys and logins are made anew.',
    });
  }
}
