/** Where exported entries go: a file, or an HTTP endpoint. What a sink has taken is not sent again. */
import { constants, open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { GateError } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';
import { findExposure, systemCodeOf } from './private-file.ts';

export interface ExportSink {
  /** Takes whole lines, without their line feeds. When it resolves they are where they should be; when it rejects they may be. */
  write(lines: readonly string[]): Promise<void>;
  /** Length of the file with all that it has taken. */
  readonly bytes?: number;
  close(): Promise<void>;
}

/**
 * A file (0600). `bytes`: how long it was when the cursor was saved; what stands behind that is cut off, as it comes
 * again. Undefined: a new file. Fails with `usage` where the file is not as it should be.
 */
export async function openFileSink(path: string, bytes: number | undefined): Promise<ExportSink> {
  const isNew = bytes === undefined || bytes === 0;
  const file = await open(path, constants.O_RDWR | (isNew ? constants.O_CREAT : 0), 0o600).catch((error: unknown) => {
    throw new GateError('usage', `${path} cannot be written (${systemCodeOf(error) ?? 'unknown'})`, { cause: error });
  });
  const { size } = await file.stat();
  const problem = bytes === undefined && size > 0 ? 'exists already, and no cursor says how far it goes' : size < (bytes ?? 0) ? 'is shorter than the cursor says' : undefined;
  if (problem !== undefined) {
    await file.close();
    throw new GateError('usage', `${path} ${problem}`, { hint: 'Name a new file, and a new cursor.' });
  }
  let length = bytes ?? 0;
  await file.truncate(length);
  return {
    get bytes() {
      return length;
    },
    async write(lines) {
      const text = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      // At its place, so that what was written by half the time before is written over.
      for (let at = 0; at < text.length; ) at += (await file.write(text, at, text.length - at, length + at)).bytesWritten;
      await file.sync();
      length += text.length;
    },
    close: () => file.close(),
  };
}

export type HttpSinkOptions = {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Tries for one batch; Infinity while following. */
  readonly attemptsMax: number;
  readonly warn: (line: string) => void;
  /** The pause after the first failure; it doubles from one to the next, up to half a minute. */
  readonly pauseMs?: number;
};

const answerMsMax = 30_000;
const pauseMsMax = 30_000;

/** POSTs lines as NDJSON. Fails with `usage` for an URL in the clear, and for an answer that says that trying again is of no use. */
export function openHttpSink(options: HttpSinkOptions): ExportSink {
  const { url, signal, attemptsMax, warn, pauseMs = 500 } = options;
  if (url.protocol !== 'https:' && !['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)) {
    throw new GateError('usage', `${url.origin} is not https: the record would travel in the clear`, { hint: 'Plain http is for loopback only.' });
  }
  if (url.username !== '' || url.password !== '') {
    throw new GateError('usage', 'the URL holds a password, which other users can see', { hint: 'Put an Authorization line into a file: --header-file FILE.' });
  }
  return {
    async write(lines) {
      const body = lines.map((line) => `${line}\n`).join('');
      for (let attempt = 1; ; attempt++) {
        const failure = await post(options, body);
        if (failure === undefined) return;
        signal.throwIfAborted();
        if (attempt >= attemptsMax) throw new GateError('relay-unreachable', `${url.origin} takes no entries: ${failure.reason}`);
        if (attempt === 1) warn(`${url.origin} takes no entries (${failure.reason}); they are sent again`);
        await sleep(Math.max(Math.min(pauseMs * 2 ** (attempt - 1), pauseMsMax), failure.pauseMs), undefined, { signal });
      }
    },
    close: () => Promise.resolve(),
  };
}

/** Why it has to be sent again; undefined where it has arrived. */
async function post({ url, headers, signal }: HttpSinkOptions, body: string): Promise<{ reason: string; pauseMs: number } | undefined> {
  let response: Response;
  try {
    response = await fetch(url, {
      method: 'POST',
      // Another address could be another's.
      redirect: 'manual',
      headers: { 'content-type': 'application/x-ndjson', ...headers },
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerMsMax)]),
    });
    await response.body?.cancel();
  } catch (error) {
    return { reason: describeNetworkFailure(error).reason, pauseMs: 0 };
  }
  const { ok, status } = response;
  if (ok) return undefined;
  if (status === 429 || status >= 500) return { reason: `status ${status}`, pauseMs: retryAfterMs(response) };
  throw new GateError('usage', `${url.origin} refused the entries with status ${status}`, { hint: 'The cursor stays where it was: nothing is lost.' });
}

function retryAfterMs({ headers }: Response): number {
  const seconds = Number(headers.get('retry-after') ?? 0);
  return seconds > 0 ? Math.min(seconds, 300) * 1000 : 0;
}

/** Header lines, `Name: value` each, out of a file that is this user's alone. Fails with `usage`. */
export async function loadHeaders(path: string): Promise<Record<string, string>> {
  const exposure = await findExposure(path);
  if (exposure !== undefined) throw new GateError('usage', `${path} ${exposure}`, { hint: `Run chmod 600 ${path}` });
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new GateError('usage', `${path} cannot be read (${systemCodeOf(error) ?? 'unknown'})`, { cause: error });
  });
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  return Object.fromEntries(
    lines.map((line, index) => {
      const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
      if (name === undefined || value === undefined) throw new GateError('usage', `${path}: line ${index + 1} is not "Name: value"`);
      return [name, value];
    }),
  );
}
