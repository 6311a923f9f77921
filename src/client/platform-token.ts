/** Gets a token of the platform from where it is kept or made, within limits of time and size; it is never in an error. */
import { execFile } from 'node:child_process';
import { constants, open, type FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod/mini';
import { workloadTokenLengthMax } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';
import { parseSecureUrl } from '../oidc/secure-url.ts';
import type { Platform, TokenPlace } from './platform.ts';
import { systemCodeOf } from './private-file.ts';

const requestMsMax = 10_000;
const metadataMsMax = 3000;
const agentMsMax = 15_000;
const answerBytesMax = 64 * 1024;
/** GitHub's service now and then fails for a moment. */
const pausesMs = [300, 1000] as const;

/** A token, as the platform gives it now. Fails with `login-required` where it gives none, `issuer-unreachable` where it does not answer. */
export async function fetchPlatformToken({ source, place }: Pick<Platform, 'source' | 'place'>, audience: string): Promise<string> {
  switch (place.kind) {
    case 'given':
      return checkToken(place.token, source);
    case 'file':
      return readTokenFile(place.path, source);
    case 'request':
      return requestToken(place, audience);
    case 'metadata':
      return askMetadata(place.host, audience);
    case 'agent':
      return checkToken(await askAgent(place.environment, audience), 'the answer of buildkite-agent');
    case 'missing':
      throw new GateError('login-required', place.message, { hint: place.hint(audience) });
  }
}

/** Checked here, because the HTTP client would quote a token that it cannot send in its error. */
function checkToken(text: string, source: string): string {
  const token = text.trim();
  const fault =
    token === '' ? 'holds nothing'
    : token.length > workloadTokenLengthMax ? `holds more than the ${workloadTokenLengthMax} characters of the longest token`
    : /^[\x21-\x7e]+$/.test(token) ? undefined
    : 'holds blanks or characters that no token has';
  if (fault === undefined) return token;
  throw new GateError('login-required', `${source} ${fault}`, { hint: 'It must hold one token, and nothing else.' });
}

/** One byte more than a token may have is read, so that a larger file is noticed and not taken in. */
async function readTokenFile(path: string, source: string): Promise<string> {
  const what = source === path ? path : `${path} (${source})`;
  let file: FileHandle | undefined;
  try {
    // Opening a pipe that nobody writes to would otherwise wait for ever.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) throw new GateError('login-required', `${what} is no file`, { hint: 'It must be a file that holds one token.' });
    const buffer = Buffer.alloc(workloadTokenLengthMax + 16);
    let length = 0;
    for (let bytesRead = -1; bytesRead !== 0 && length < buffer.length; length += bytesRead) {
      ({ bytesRead } = await file.read(buffer, length, buffer.length - length));
    }
    return checkToken(buffer.toString('utf8', 0, length), what);
  } catch (error) {
    if (error instanceof GateError) throw error;
    throw new GateError('login-required', `cannot read the token file ${what}: ${systemCodeOf(error) ?? 'unknown error'}`, {
      cause: error,
      hint: 'Is the volume mounted, and may this user read it?',
    });
  } finally {
    await file?.close();
  }
}

const RequestAnswer = z.object({ value: z.string() });

async function requestToken(place: Extract<TokenPlace, { kind: 'request' }>, audience: string): Promise<string> {
  const source = 'ACTIONS_ID_TOKEN_REQUEST_URL';
  const url = parseSecureUrl(place.url, source, 'usage');
  url.searchParams.set('audience', audience);
  const bearer = checkToken(place.bearer, 'ACTIONS_ID_TOKEN_REQUEST_TOKEN');
  const ask = () => get(url, { authorization: `Bearer ${bearer}`, accept: 'application/json' }, requestMsMax, 'the token service of GitHub Actions');
  let answer = await ask();
  for (const pause of pausesMs) {
    if (answer.status < 500 && answer.status !== 429) break;
    await sleep(pause);
    answer = await ask();
  }
  if (answer.status !== 200) {
    const isAway = answer.status >= 500 || answer.status === 429;
    throw new GateError(isAway ? 'issuer-unreachable' : 'login-required', `the token service of GitHub Actions answered ${answer.status}`, {
      hint: isAway ? 'Run the job again in a while.' : 'Has the job permissions: { id-token: write }? A step that runs for hours may also outlive its leave to ask.',
    });
  }
  const parsed = RequestAnswer.safeParse(parseJson(answer.text));
  if (parsed.success) return checkToken(parsed.data.value, 'the answer of GitHub Actions');
  throw new GateError('protocol-violation', 'the token service of GitHub Actions answered in a form that gate does not understand');
}

async function askMetadata(host: string, audience: string): Promise<string> {
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/.test(host)) {
    throw new GateError('usage', `GCE_METADATA_HOST is no host: ${JSON.stringify(host)}`, { hint: 'Write a host or host:port.' });
  }
  const url = new URL(`http://${host}/computeMetadata/v1/instance/service-accounts/default/identity`);
  url.search = new URLSearchParams({ audience, format: 'full' }).toString();
  const what = `the metadata server ${host}`;
  const { status, text, flavor } = await get(url, { 'metadata-flavor': 'Google' }, metadataMsMax, what);
  // Something else may answer under that name, and its answer would be sent on as a token.
  if (flavor !== 'Google') throw new GateError('login-required', `${what} does not answer as Google's does`, { hint: 'Is this Google Cloud? GATE_PLATFORM names another platform, or none.' });
  if (status === 200) return checkToken(text, `the answer of ${what}`);
  throw new GateError('login-required', `${what} gives no identity token (${status})`, {
    hint: 'The instance, service or build needs a service account of its own.',
  });
}

type Answer = { readonly status: number; readonly text: string; readonly flavor: string | null };

/** Follows nothing: a redirect could carry the bearer elsewhere. */
async function get(url: URL, headers: Readonly<Record<string, string>>, timeoutMs: number, what: string): Promise<Answer> {
  try {
    const response = await fetch(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > answerBytesMax) throw new GateError('too-large', `${what} answered with more than gate takes in`);
      chunks.push(chunk);
    }
    return { status: response.status, text: Buffer.concat(chunks).toString('utf8'), flavor: response.headers.get('metadata-flavor') };
  } catch (error) {
    if (error instanceof GateError) throw error;
    throw new GateError('issuer-unreachable', `cannot reach ${what}: ${describeNetworkFailure(error).reason}`, {
      cause: error,
      hint: 'GATE_PLATFORM names another platform, or none.',
    });
  }
}

/** The agent's access token is in its environment, which it needs whole; what it writes to stderr is not shown. */
function askAgent(environment: NodeJS.ProcessEnv, audience: string): Promise<string> {
  const options = { env: environment, timeout: agentMsMax, killSignal: 'SIGKILL', maxBuffer: answerBytesMax, windowsHide: true } as const;
  return new Promise((resolve, reject) => {
    execFile('buildkite-agent', ['oidc', 'request-token', '--audience', audience], options, (error, stdout) => {
      if (error === null) return resolve(stdout);
      const reason = error.code === 'ENOENT' ? 'it is not on PATH' : error.killed ? `no answer within ${agentMsMax / 1000} s` : 'it refused';
      reject(new GateError('login-required', `buildkite-agent gives no token: ${reason}`, {
        hint: 'Run gate where the agent runs the step; in a container, mount its binary: mount-buildkite-agent: true.',
      }));
    });
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
