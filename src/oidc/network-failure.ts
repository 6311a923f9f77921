/** Says in plain words why a request over the network got no answer. */
import { messageOf } from '../errors/errors.ts';

const unknownAuthority = 'its certificate is not signed by an authority that this machine knows';

const wordsByCode: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there (connection refused)',
  ENOTFOUND: 'there is no such host name',
  EAI_AGAIN: 'the host name could not be looked up (is the network up?)',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  UND_ERR_SOCKET: 'the connection was cut',
  EHOSTUNREACH: 'there is no route to that host',
  ENETUNREACH: 'the network is unreachable',
  ETIMEDOUT: 'the connection timed out',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_HEADERS_TIMEOUT: 'no answer came in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stopped half way',
  EPROTO: 'it does not speak TLS there (is it plain http?)',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS there (is it plain http?)',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS there (is it plain http?)',
  HPE_INVALID_CONSTANT: 'it does not speak HTTP there',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet (is the clock right?)',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name',
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
};

/** The reason as half a sentence, and a hint where the reader can do something about it. */
export type NetworkFailure = { readonly reason: string; readonly hint?: string };

/** Reads the failure of a `fetch`, of a socket or of a library that wraps either. */
export function describeNetworkFailure(error: unknown): NetworkFailure {
  const root = rootOf(error);
  if (root instanceof Error && root.name === 'TimeoutError') return { reason: 'no answer came in time' };
  const code = codeOf(root);
  const reason = (code !== undefined ? wordsByCode[code] : undefined) ?? messageOf(root);
  if (reason !== unknownAuthority) return { reason };
  return { reason, hint: 'Name the file of your authority in NODE_EXTRA_CA_CERTS, as a PEM file.' };
}

/** Whether no answer came at all, in contrast to an answer that says no. */
export function isNetworkFailure(error: unknown): boolean {
  const root = rootOf(error);
  return codeOf(root) !== undefined || (root instanceof Error && root.name === 'TimeoutError');
}

/** `fetch` says only "fetch failed"; the reason is the innermost cause, and of several tried addresses the first. */
function rootOf(error: unknown): unknown {
  let root = error;
  for (let depth = 0; depth < 8; depth += 1) {
    if (root instanceof AggregateError && root.errors.length > 0) root = root.errors[0];
    else if (root instanceof Error && root.cause instanceof Error) root = root.cause;
    else break;
  }
  return root;
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  return error.code.startsWith('OAUTH_') ? undefined : error.code;
}
