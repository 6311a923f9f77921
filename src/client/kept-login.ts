/** The login of a machine between two commands of one job: sealed with a key that only the platform's token gives. */
import { createHash, hkdfSync, randomBytes } from 'node:crypto';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { decrypt, encrypt, nonceBytes } from '../audit/aead.ts';
import { writePrivateFile } from './private-file.ts';

/** Older files are of jobs that are over. */
const keptMsMax = 24 * 3600 * 1000;

const Kept = z.object({ accessToken: z.string(), expiresAtMs: z.number() });
export type KeptLogin = z.infer<typeof Kept>;

/**
 * Many platforms give a job one token, and a token counts once. The file is no use without that token: neither its name
 * nor its content tells anything. Where no file can be kept, the next command has to do without.
 */
export class KeptLogins {
  readonly #folder: string;
  readonly #relay: string;

  /** `directory`: of the user's settings. */
  constructor(directory: string, relay: string) {
    this.#folder = join(directory, 'machine-logins');
    this.#relay = relay;
  }

  /** Never rejects. Undefined also for one that is over. */
  async find(token: string): Promise<KeptLogin | undefined> {
    try {
      const sealed = await readFile(this.#path(token));
      const kept = Kept.parse(JSON.parse(decrypt(sealed, context, this.#key(token)).toString('utf8')));
      return kept.expiresAtMs > Date.now() ? kept : undefined;
    } catch {
      return undefined;
    }
  }

  /** Never rejects. */
  async keep(token: string, login: KeptLogin): Promise<void> {
    try {
      await this.#removeOld();
      await writePrivateFile(this.#path(token), encrypt(Buffer.from(JSON.stringify(login)), context, this.#key(token), randomBytes(nonceBytes)));
    } catch {
      // A home that cannot be written to is no reason to fail now.
    }
  }

  /** Never rejects. */
  async drop(token: string): Promise<void> {
    await rm(this.#path(token), { force: true }).catch(() => undefined);
  }

  async #removeOld(): Promise<void> {
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) {
      const path = join(this.#folder, name);
      const { mtimeMs } = await stat(path);
      if (Date.now() - mtimeMs > keptMsMax) await rm(path, { force: true });
    }
  }

  #path(token: string): string {
    return join(this.#folder, createHash('sha256').update(`name\n${this.#relay}\n${token}`).digest('hex').slice(0, 32));
  }

  #key(token: string): Buffer {
    return Buffer.from(hkdfSync('sha256', token, this.#relay, 'gate machine login', 32));
  }
}

const context = 'gate/machine-login/v1';
