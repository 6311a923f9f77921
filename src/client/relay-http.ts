/** One HTTP exchange with the relay: limits, checked answers, and failures as GateErrors. */
import * as z from 'zod/mini';
import { ErrorBody } from '../api/api.ts';
import { agentHeader } from '../api/workload-api.ts';
import { GateError, isErrorCode, type ErrorCode } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';

const requestMsMax = 15_000;
/** Longest pause within a streamed answer. */
const idleMsMax = 60_000;
/** Largest answer that is not streamed. */
export const answerBytesMax = 16 * 1024 * 1024;
/** Longest line of a streamed answer: a statement of the largest size that PostgreSQL takes would still be more. */
export const lineBytesMax = 256 * 1024 * 1024;

export type RelayRequest = {
  /** The relay, without a trailing slash. */
  readonly relay: string;
  readonly method: 'GET' | 'POST';
  /** From the slash on, already encoded. */
  readonly path: string;
  readonly token?: string;
  /** The program that acts for the person, as `name/version`. */
  readonly agent?: string;
  readonly body?: unknown;
  /** For the whole exchange, or of a streamed answer for its beginning; 15 s without it. */
  readonly timeoutMs?: number;
  /** Breaks the exchange off: it then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

/** Sends a request and reads its JSON answer. Fails with the relay's own error, `relay-unreachable` or `protocol-violation`. */
export async function requestJson<T extends z.ZodMiniType>(request: RelayRequest, schema: T): Promise<z.infer<T>> {
  const text = await requestText(request);
  const answer = schema.safeParse(parseJson(text));
  if (answer.success) return answer.data;
  throw notUnderstood(request, answer.error);
}

/** As `requestJson`, for answers that say nothing beyond their status. */
export async function requestText(request: RelayRequest): Promise<string> {
  const timeout = AbortSignal.timeout(request.timeoutMs ?? requestMsMax);
  try {
    const response = await send(request, request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]));
    return await readText(response, request);
  } catch (error) {
    request.signal?.throwIfAborted();
    throw error instanceof GateError ? error : unreachable(request, error);
  }
}

/** As `requestText`, for an answer that is no text, of at most so many bytes. */
export async function requestBytes(request: RelayRequest, bytesMax: number): Promise<Buffer> {
  try {
    return await readBytes(await send(request, AbortSignal.timeout(request.timeoutMs ?? requestMsMax)), request, bytesMax);
  } catch (error) {
    throw error instanceof GateError ? error : unreachable(request, error);
  }
}

/**
 * Sends a request and yields its answer line by line (NDJSON), each checked. Reads no faster than it is consumed, and
 * drops the connection when the consumer stops early. Fails also when the answer breaks off.
 */
export async function* requestLines<T extends z.ZodMiniType>(
  request: RelayRequest,
  schema: T,
): AsyncGenerator<z.infer<T>> {
  const controller = new AbortController();
  const { signal, timeoutMs = requestMsMax } = request;
  const timer = setTimeout(() => controller.abort(new DOMException('timed out', 'TimeoutError')), timeoutMs);
  const both = signal === undefined ? controller.signal : AbortSignal.any([controller.signal, signal]);
  const response = await send(request, both)
    .catch((error: unknown) => {
      signal?.throwIfAborted();
      throw error;
    })
    .finally(() => clearTimeout(timer));
  if (response.body === null) return;
  const reader = response.body.getReader();
  try {
    let pending: Buffer[] = [];
    let pendingBytes = 0;
    for (;;) {
      const chunk = await readChunk(reader, request);
      if (chunk === undefined) break;
      let start = 0;
      for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
        const line = Buffer.concat([...pending, chunk.subarray(start, end)]).toString('utf8');
        pending = [];
        pendingBytes = 0;
        start = end + 1;
        if (line !== '') yield parseLine(line, schema, request);
      }
      if (start < chunk.length) pending.push(chunk.subarray(start));
      pendingBytes += chunk.length - start;
      if (pendingBytes > lineBytesMax) throw tooLarge(request);
    }
    if (pendingBytes > 0) throw unreachable(request, new Error('the answer broke off'));
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function send(request: RelayRequest, signal: AbortSignal): Promise<Response> {
  const { relay, method, path, token, agent, body } = request;
  let response: Response;
  try {
    response = await fetch(`${relay}${path}`, {
      method,
      signal,
      // A relay never redirects; following one could carry the token elsewhere.
      redirect: 'manual',
      headers: {
        accept: 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(agent !== undefined && { [agentHeader]: agent }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  } catch (error) {
    throw unreachable(request, error);
  }
  if (response.ok) return response;
  const text = await readText(response, request).catch(() => '');
  throw toGateError(response, text, request);
}

async function readText(response: Response, request: RelayRequest): Promise<string> {
  return (await readBytes(response, request, answerBytesMax)).toString('utf8');
}

async function readBytes(response: Response, request: RelayRequest, bytesMax: number): Promise<Buffer> {
  if (response.body === null) return Buffer.alloc(0);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > bytesMax) throw tooLarge(request);
  }
  return Buffer.concat(chunks);
}

async function readChunk(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  request: RelayRequest,
): Promise<Buffer | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const idle = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DOMException('timed out', 'TimeoutError')), idleMsMax);
  });
  try {
    const { value } = await Promise.race([reader.read(), idle]);
    return value === undefined ? undefined : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  } catch (error) {
    request.signal?.throwIfAborted();
    throw unreachable(request, error);
  } finally {
    clearTimeout(timer);
  }
}

function parseLine<T extends z.ZodMiniType>(line: string, schema: T, request: RelayRequest): z.infer<T> {
  const json = parseJson(line);
  const entry = schema.safeParse(json);
  if (entry.success) return entry.data;
  const failure = ErrorBody.safeParse(json);
  throw failure.success ? errorOfBody(failure.data, 500) : notUnderstood(request, entry.error);
}

function errorOfBody({ error }: ErrorBody, status: number): GateError {
  const { code, message, hint, rule, requestId } = error;
  return new GateError(isErrorCode(code) ? code : codeByStatus(status), printable(message), {
    ...(hint !== undefined && { hint: printable(hint) }),
    ...(rule !== undefined && { rule: printable(rule) }),
    ...(requestId !== undefined && { requestId: printable(requestId) }),
  });
}

/** The relay's error with its own code, message, hint and rule; of anything else that answers there, the status. */
function toGateError(response: Response, text: string, request: RelayRequest): GateError {
  const body = ErrorBody.safeParse(parseJson(text));
  if (!body.success) {
    const status = `${response.status} ${response.statusText}`.trimEnd();
    return new GateError(
      response.status < 500 ? codeByStatus(response.status) : 'relay-unreachable',
      `${request.relay} answered ${status} to ${request.path}, and not as a gate relay does`,
      { hint: 'Is this the address of the relay? A proxy in between may also have answered.' },
    );
  }
  return errorOfBody(body.data, response.status);
}

/** For codes of a newer relay: the nearest that this gate knows, so that the exit code still fits. */
function codeByStatus(status: number): ErrorCode {
  const codes: Readonly<Record<number, ErrorCode>> = {
    400: 'usage',
    401: 'login-required',
    403: 'denied',
    404: 'not-found',
    410: 'session-ended',
    413: 'too-large',
    422: 'usage',
    429: 'too-many',
    501: 'not-supported',
    503: 'relay-stopping',
  };
  return codes[status] ?? (status < 500 ? 'protocol-violation' : 'relay-unreachable');
}

function unreachable(request: RelayRequest, error: unknown): GateError {
  const { reason, hint } = describeNetworkFailure(error);
  return new GateError('relay-unreachable', `cannot reach the relay ${request.relay}: ${reason}`, {
    cause: error,
    hint: hint ?? 'Is the relay running, and is its URL right? Another one is chosen with --relay or GATE_RELAY.',
  });
}

function tooLarge(request: RelayRequest): GateError {
  return new GateError('too-large', `${request.relay} answered ${request.path} with more than gate takes in`);
}

function notUnderstood(request: RelayRequest, error: z.core.$ZodError): GateError {
  const issue = error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? '' : ` (${issue.path.join('.')}: ${issue.message})`;
  return new GateError(
    'protocol-violation',
    `${request.relay} answered ${request.path} in a form that this gate does not understand${where}`,
    { hint: 'Is this the address of a gate relay, and of a version that fits?' },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Nothing that a relay says may move the terminal's cursor; line breaks may stay. */
function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n]|\p{Cf}/gu, '\u{FFFD}');
}
