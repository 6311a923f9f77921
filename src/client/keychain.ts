/** The OS keychain through keytar, in a child process that can be killed: whatever goes wrong means "no keychain". */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import * as z from 'zod/mini';

/** Longer than a keychain takes that answers by itself; one that waits for a person to unlock it counts as absent. */
const callMsMax = 3000;
const service = 'gate';

/** The keychain cannot be used here and now; the message says why in half a sentence. */
export class KeychainUnavailable extends Error {
  override readonly name = 'KeychainUnavailable';
}

/** Each call rejects with KeychainUnavailable, within three seconds, when there is no keychain or it does not answer. */
export interface Keychain {
  load(account: string): Promise<string | undefined>;
  /** Resolves only when the secret has been read back. */
  save(account: string, secret: string): Promise<void>;
  remove(account: string): Promise<void>;
}

export type KeychainOptions = {
  /** False: every call is refused without loading anything. */
  readonly isWanted: boolean;
  /** The file to load in place of keytar, for tests of a keychain that hangs or fails. */
  readonly modulePath?: string;
  readonly timeoutMs?: number;
};

/** Opens nothing yet; keytar is loaded by the first call, in the child. */
export function createKeychain(options: KeychainOptions): Keychain {
  const call = (request: KeychainRequest): Promise<string | undefined> => {
    if (!options.isWanted) return Promise.reject(new KeychainUnavailable('it is switched off'));
    const modulePath = options.modulePath ?? findKeytar();
    if (modulePath === undefined) return Promise.reject(new KeychainUnavailable('keytar is not installed'));
    return callKeytar(modulePath, request, options.timeoutMs ?? callMsMax);
  };
  return {
    load: (account) => call({ verb: 'load', account }),
    async save(account, secret) {
      await call({ verb: 'save', account, secret });
      // A locked keyring may take a secret and forget it.
      if ((await call({ verb: 'load', account })) !== secret) throw new KeychainUnavailable('it did not keep the login');
    },
    async remove(account) {
      await call({ verb: 'remove', account });
    },
  };
}

const Answer = z.object({ value: z.optional(z.nullable(z.string())), error: z.optional(z.string()) });

type KeychainRequest = { readonly verb: 'load' | 'save' | 'remove'; readonly account: string; readonly secret?: string };

/**
 * The child's whole program. The request comes on stdin and the answer goes to stdout, so that no secret is ever in an
 * argument or in the environment.
 */
const childProgram = `
const { readFileSync, writeSync } = require('fs');
async function answer() {
  const { service, verb, account, secret } = JSON.parse(readFileSync(0, 'utf8'));
  const keytar = require(process.argv[1]);
  if (verb === 'save') await keytar.setPassword(service, account, secret);
  if (verb === 'remove') await keytar.deletePassword(service, account);
  return { value: verb === 'load' ? await keytar.getPassword(service, account) : null };
}
answer()
  .catch((error) => ({ error: String((error && error.message) || error) }))
  .then((result) => writeSync(1, JSON.stringify(result) + '\\n'));
`;

/**
 * One call in a process of its own. keytar works on libuv's threads, and a thread that is stuck in a keychain keeps
 * its whole process from ending, even when it is told to exit; another process can simply be killed.
 */
function callKeytar(modulePath: string, request: KeychainRequest, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', childProgram, modulePath], {
      stdio: ['pipe', 'pipe', 'ignore'],
      windowsHide: true,
    });
    let output = '';
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      settle();
    };
    const fail = (reason: string): void => finish(() => reject(new KeychainUnavailable(reason)));
    const timer = setTimeout(() => fail(`it did not answer within ${timeoutMs / 1000} s`), timeoutMs);
    child.on('error', (error) => fail(error.message));
    child.on('close', () => fail('it ended without an answer'));
    // The child may die before it has read its request; its end is then the news.
    child.stdin.on('error', () => undefined);
    child.stdin.end(JSON.stringify({ service, ...request }));
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      if (!output.endsWith('\n')) return;
      const answer = parseAnswer(output);
      if (answer.error !== undefined) fail(firstLine(answer.error));
      else finish(() => resolve(answer.value ?? undefined));
    });
  });
}

function parseAnswer(text: string): z.infer<typeof Answer> {
  try {
    return Answer.parse(JSON.parse(text));
  } catch {
    return { error: 'it answered something else than expected' };
  }
}

/** Where keytar lies, without loading it; undefined where npm could not install it. */
function findKeytar(): string | undefined {
  try {
    // The bundle is CommonJS and has its own `require`; the sources run as ES modules and have none.
    return (typeof require === 'function' ? require : createRequire(import.meta.url)).resolve('keytar');
  } catch {
    return undefined;
  }
}

function firstLine(text: string): string {
  return (text.split('\n', 1)[0] ?? '').slice(0, 200);
}
