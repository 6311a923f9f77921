/** One attempt to deliver: the signature, one POST over a connection of its own, and what came back. */
import { createHmac } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

/** Headers and body of an answer; what it says beside its status does not matter, so little is read. */
const answerHeadersBytesMax = 16 * 1024;
export const answerBodyBytesMax = 64 * 1024;
/** How long an answer may go on once its status is known. */
const answerBodyTimeoutMs = 1000;

/** `failure` is in words of our own: the library's can hold the URL, which may be a secret. */
export type Answer =
  | { readonly status: number; readonly retryAfter?: string }
  | { readonly failure: string };

/** The value of gate-signature: HMAC-SHA-256 over the time and the body, so that neither can be changed or replayed later. */
export function signature(secret: string, timestamp: string, body: string): string {
  return `v1=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
}

export type Post = {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** For everything, from looking up the name to the last byte of the answer. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

/** Never rejects, follows no redirect, and resolves once the connection is closed. */
export function post({ url, headers, body, timeoutMs, signal }: Post): Promise<Answer> {
  return new Promise((resolve) => {
    let answer: Answer | undefined;
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      agent: false,
      maxHeaderSize: answerHeadersBytesMax,
      signal,
    });
    const timers = [
      setTimeout(() => {
        answer ??= { failure: `no answer within ${timeoutMs} ms` };
        request.destroy();
      }, timeoutMs),
    ];
    request.on('response', (response) => {
      const retryAfter = response.headers['retry-after'];
      answer ??= { status: response.statusCode ?? 0, ...(retryAfter !== undefined && { retryAfter }) };
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > answerBodyBytesMax) request.destroy();
      });
      // An answer that breaks off has its status all the same.
      response.on('error', () => undefined);
      timers.push(setTimeout(() => request.destroy(), answerBodyTimeoutMs));
    });
    request.on('error', (error) => {
      answer ??= { failure: describeFailure(error) };
    });
    request.on('close', () => {
      for (const timer of timers) clearTimeout(timer);
      resolve(answer ?? { failure: 'the connection closed without an answer' });
    });
    request.end(body);
  });
}

/** Codes only, such as ECONNREFUSED or CERT_HAS_EXPIRED. */
function describeFailure(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : 'the connection failed';
}
