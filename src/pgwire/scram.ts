/** SCRAM-SHA-256 without channel binding, both sides: RFC 5802, RFC 7677, and PostgreSQL's use of them (section 54.3). */
import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto';
import { GateError } from '../errors/errors.ts';

export const scramMechanism = 'SCRAM-SHA-256';
/** A hostile server could otherwise make the relay hash for minutes. */
export const iterationsMax = 100_000;

export type ScramVerifier = {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
};

/** The verifier of a password as PostgreSQL stores it: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. */
export function createVerifier(password: string, salt: Buffer, iterations = 4096): string {
  const salted = saltPassword(password, salt, iterations);
  const storedKey = sha256(hmac(salted, 'Client Key')).toString('base64');
  return `${scramMechanism}$${iterations}:${salt.toString('base64')}$${storedKey}:${hmac(salted, 'Server Key').toString('base64')}`;
}

export function parseVerifier(text: string): ScramVerifier {
  const match = /^SCRAM-SHA-256\$(\d{1,6}):([\w+/=]+)\$([\w+/=]+):([\w+/=]+)$/.exec(text);
  const [, iterations = '', salt = '', storedKey = '', serverKey = ''] = match ?? [];
  const verifier = {
    iterations: Number(iterations),
    salt: Buffer.from(salt, 'base64'),
    storedKey: Buffer.from(storedKey, 'base64'),
    serverKey: Buffer.from(serverKey, 'base64'),
  };
  const isSound =
    verifier.iterations >= 4096 &&
    verifier.iterations <= iterationsMax &&
    verifier.salt.length >= 16 &&
    verifier.storedKey.length === 32 &&
    verifier.serverKey.length === 32;
  if (!isSound) throw new GateError('usage', 'the tunnel password verifier is not a SCRAM-SHA-256 verifier');
  return verifier;
}

/** The server's half for one login. Any deviation fails with `tunnel-password`. */
export class ScramServer {
  readonly #verifier: ScramVerifier;
  readonly #nonce: string;
  #clientFirstBare = '';
  #serverFirst = '';
  #gs2Header = '';

  /** `nonce`: at least 18 random bytes in base64. */
  constructor(verifier: ScramVerifier, nonce: string) {
    this.#verifier = verifier;
    this.#nonce = nonce;
  }

  /**
   * client-first-message → server-first-message. The user name in it is ignored, as in PostgreSQL; an authorization
   * identity, mandatory extensions and channel binding, which was not offered, are refused.
   */
  start(clientFirst: string): string {
    const match = /^([ny],,)(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+))$/.exec(clientFirst);
    if (match === null) throw new GateError('protocol-violation', 'the SCRAM client-first message is malformed');
    [, this.#gs2Header = '', this.#clientFirstBare = ''] = match;
    const { salt, iterations } = this.#verifier;
    this.#serverFirst = `r=${match[3]}${this.#nonce},s=${salt.toString('base64')},i=${iterations}`;
    return this.#serverFirst;
  }

  /** client-final-message → server-final-message, once the client has proven that it knows the password. */
  finish(clientFinal: string): string {
    const match = /^(c=([\w+/=]+),r=([^,]+)),p=([\w+/=]+)$/.exec(clientFinal);
    if (match === null) throw new GateError('protocol-violation', 'the SCRAM client-final message is malformed');
    const [, withoutProof = '', binding = '', nonce = '', proofText = ''] = match;
    const expectedNonce = /^r=([^,]+),/.exec(this.#serverFirst)?.[1];
    const authMessage = `${this.#clientFirstBare},${this.#serverFirst},${withoutProof}`;
    const proof = Buffer.from(proofText, 'base64');
    const signature = hmac(this.#verifier.storedKey, authMessage);
    const isProven =
      nonce === expectedNonce &&
      Buffer.from(binding, 'base64').toString('utf8') === this.#gs2Header &&
      proof.length === signature.length &&
      timingSafeEqual(sha256(xor(proof, signature)), this.#verifier.storedKey);
    if (!isProven) throw new GateError('tunnel-password', 'the tunnel password is wrong');
    return `v=${hmac(this.#verifier.serverKey, authMessage).toString('base64')}`;
  }
}

/** The client's half for one login. A server that cannot prove that it knows the verifier fails. */
export class ScramClient {
  readonly #password: string;
  readonly #clientFirstBare: string;
  readonly #nonce: string;
  readonly #salt: typeof saltPassword;
  #serverSignature = '';

  /** `nonce`: at least 18 random bytes in base64. `salt`: where what comes of the same three is kept (RFC 5802, section 5.1). */
  constructor(password: string, nonce: string, salt = saltPassword) {
    this.#password = prepare(password);
    this.#salt = salt;
    this.#nonce = nonce;
    this.#clientFirstBare = `n=,r=${nonce}`;
  }

  get clientFirst(): string {
    return `n,,${this.#clientFirstBare}`;
  }

  /** server-first-message → client-final-message. */
  answer(serverFirst: string): string {
    const [, nonce = '', salt = '', iterationText = ''] = /^r=([^,]+),s=([\w+/=]+),i=(\d{1,9})$/.exec(serverFirst) ?? [];
    const iterations = Number(iterationText);
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length || iterations < 1) {
      throw new GateError('upstream-protocol', 'the server-first message of SCRAM is malformed');
    }
    if (iterations > iterationsMax) {
      throw new GateError('upstream-protocol', `the server asks for ${iterations} SCRAM iterations; at most ${iterationsMax} are done`);
    }
    const salted = this.#salt(this.#password, Buffer.from(salt, 'base64'), iterations);
    const clientKey = hmac(salted, 'Client Key');
    const withoutProof = `c=biws,r=${nonce}`;
    const authMessage = `${this.#clientFirstBare},${serverFirst},${withoutProof}`;
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), authMessage).toString('base64');
    return `${withoutProof},p=${xor(clientKey, hmac(sha256(clientKey), authMessage)).toString('base64')}`;
  }

  /** Checks the server-final-message. */
  verify(serverFinal: string): void {
    if (this.#serverSignature === '' || serverFinal !== `v=${this.#serverSignature}`) {
      throw new GateError('upstream-protocol', 'the server did not prove that it knows the password');
    }
  }
}

const mappedToNothing = /\u00AD|\u034F|\u1806|[\u180B-\u180D]|\u200C|\u200D|\u2060|[\uFE00-\uFE0F]|\uFEFF/g;
const rareBlanks = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g;

/** SASLprep (RFC 4013) without its prohibitions: what is mapped to nothing (RFC 3454, B.1), rare blanks, NFKC. */
function prepare(password: string): string {
  return password.replaceAll(mappedToNothing, '').replaceAll(rareBlanks, ' ').normalize('NFKC');
}

/** SaltedPassword of RFC 5802, which takes about a millisecond by design. */
export function saltPassword(password: string, salt: Buffer, iterations: number): Buffer {
  return pbkdf2Sync(password, salt, iterations, 32, 'sha256');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function xor(one: Buffer, other: Buffer): Buffer {
  return Buffer.from(one.map((byte, index) => byte ^ (other[index] ?? 0)));
}
