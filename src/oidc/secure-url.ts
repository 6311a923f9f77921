/** Which URLs may carry a token: https anywhere, plain http only where it never leaves the machine. */
import { isLoopbackHost } from '../api/loopback-host.ts';
import { GateError, type ErrorCode } from '../errors/errors.ts';

/**
 * Parses an absolute URL that may carry a token. Fails with `code` where it is none, has a user or password in it, or
 * is neither https nor http on loopback. `what` opens the message, as in "the relay URL".
 */
export function parseSecureUrl(text: string, what: string, code: ErrorCode): URL {
  if (!URL.canParse(text)) {
    throw new GateError(code, `${what} is not a URL: ${JSON.stringify(text)}`, {
      hint: 'Write it whole, as in https://gate.example.com.',
    });
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new GateError(code, `${what} must not hold a user name or a password`);
  }
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopbackHost(url.hostname))) return url;
  throw new GateError(
    code,
    url.protocol === 'http:'
      ? `${what} ${url.href} is plain http: your token would travel in the clear`
      : `${what} ${url.href} is neither https nor http`,
    { hint: 'Use https. Plain http is accepted for localhost, 127.0.0.1 and [::1] only.' },
  );
}
