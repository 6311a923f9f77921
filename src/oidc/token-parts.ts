/** A token taken apart in the one way that it can be read: what two readers could understand in two ways is refused. */
import { createHash } from 'node:crypto';
import { GateError } from '../errors/errors.ts';

/** Of a compact JWS (RFC 7515, section 7.1); nothing of it is verified yet. */
export type TokenParts = {
  readonly text: string;
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
  /** SHA-256 of what is signed, in hex. A signature can be written in more than one way; this cannot. */
  readonly signedHash: string;
};

const names = ['header', 'payload', 'signature'] as const;

/** Fails with `login-failed`. */
export function readToken(text: string): TokenParts {
  const segments = text.split('.');
  if (segments.length === 5) throw refuseToken('the token is encrypted (five parts), and a signed one has three');
  if (segments.length !== 3) throw refuseToken(`a token has three parts with dots between, and this has ${segments.length}`);
  const [header, payload, signature] = segments.map((segment, index) => readSegment(segment, names[index] ?? '')) as [Buffer, Buffer, Buffer];
  if (signature.length === 0) throw refuseToken('the token carries no signature');
  return {
    text,
    header: readObject(header, 'header'),
    payload: readObject(payload, 'payload'),
    signedHash: createHash('sha256').update(text.slice(0, text.lastIndexOf('.'))).digest('hex'),
  };
}

export function refuseToken(reason: string, hint = 'Ask the platform for a new token, for this relay.', cause?: unknown): GateError {
  return new GateError('login-failed', reason, { hint, cause });
}

/** base64url as RFC 7515 has it: no padding, no blanks, and no bits that mean nothing. So equal bytes are equal texts. */
function readSegment(segment: string, name: string): Buffer {
  const bytes = Buffer.from(segment, 'base64url');
  if (bytes.toString('base64url') !== segment) throw refuseToken(`the ${name} of the token is not base64url as it must be written`);
  return bytes;
}

function readObject(bytes: Buffer, name: string): Readonly<Record<string, unknown>> {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw refuseToken(`the ${name} of the token is not JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuseToken(`the ${name} of the token is not a JSON object`);
  const twice = duplicateName(text);
  if (twice !== undefined) throw refuseToken(`the ${name} of the token has ${JSON.stringify(twice.slice(0, 100))} twice`);
  return value as Readonly<Record<string, unknown>>;
}

/**
 * A name that one object of a valid JSON text has twice, however it is escaped. Of two values some readers take the first and
 * some the last, so that an issuer and a relay could mean different ones.
 */
export function duplicateName(json: string): string | undefined {
  /** One per open object or list; the set of names of an object. */
  const open: (Set<string> | undefined)[] = [];
  for (const [token, string, colon] of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/gs)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (string !== undefined && colon !== undefined) {
      const name = JSON.parse(string) as string;
      const known = open.at(-1);
      if (known?.has(name)) return name;
      known?.add(name);
    }
  }
  return undefined;
}
