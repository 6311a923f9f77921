/** A client's first messages: encryption requests, a cancel request, or start-up and the proof of the tunnel password. */
import { GateError } from '../errors/errors.ts';
import {
  encodeAuthenticationSasl,
  encodeAuthenticationSaslContinue,
  encodeAuthenticationSaslFinal,
  encodeNegotiateProtocolVersion,
} from '../pgwire/backend.ts';
import { ByteReader } from '../pgwire/bytes.ts';
import { describeType } from '../pgwire/frame.ts';
import { decodeStartupPacket, startupLengthMax } from '../pgwire/frontend.ts';
import { parseVerifier, scramMechanism, ScramServer } from '../pgwire/scram.ts';
import { parseTimeout } from './settings-watch.ts';
import { formatSearchPath } from '../sql/search-path.ts';
import { isSameSetting, pinnedSettings } from '../sql/settings.ts';

/** No SCRAM message comes near this. */
const saslBodyBytesMax = 4096;

/** More than any client has to say before it is logged in. */
const queueBytesMax = 64 * 1024;

/** Bytes as they come, taken in the pieces that the handshake asks for. */
export class ByteQueue {
  #bytes: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #error: GateError | undefined;

  /** False once there is more than a login can take; what comes then is dropped. */
  push(chunk: Buffer): boolean {
    if (this.#error !== undefined) return false;
    if (this.#bytes.length + chunk.length > queueBytesMax) {
      this.#bytes = Buffer.alloc(0);
      this.fail(new GateError('protocol-violation', 'too many bytes came before the login was done'));
      return false;
    }
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#wake?.();
    return true;
  }

  /** What waits now and later for bytes fails with this. */
  fail(error: GateError): void {
    this.#error ??= error;
    this.#wake?.();
  }

  async peek(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#bytes.subarray(0, length);
  }

  async take(length: number): Promise<Buffer> {
    const taken = await this.peek(length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  /** Everything that came and was not taken. */
  get rest(): Buffer {
    if (this.#error !== undefined) throw this.#error;
    return this.#bytes;
  }
}

export type Handshake =
  | { readonly kind: 'cancel'; readonly pid: number; readonly key: Buffer }
  /** `minor`: of protocol 3, as agreed. */
  | { readonly kind: 'startup'; readonly minor: number; readonly parameters: ReadonlyMap<string, string> };

/** Protocol 3.2 (PostgreSQL 18) brings cancel keys of any length up to 256 bytes, and nothing else. */
export const protocolMinorMax = 2;

/**
 * Reads up to the start-up packet. SSLRequest and GSSENCRequest are answered with 'N': the way here is the tunnel,
 * which is encrypted where it leaves the machine. Bytes sent behind such a request before its answer end the
 * connection, as in the server (CVE-2021-23214).
 */
export async function readStartup(queue: ByteQueue, write: (bytes: Buffer) => void): Promise<Handshake> {
  const refused = new Set<string>();
  for (;;) {
    const length = (await queue.peek(4)).readUInt32BE(0);
    if (length < 8 || length > startupLengthMax) {
      throw new GateError('protocol-violation', 'these bytes do not begin a PostgreSQL connection');
    }
    const packet = decodeStartupPacket(await queue.take(length));
    if (packet.kind === 'cancel') return packet;
    if (packet.kind === 'startup') {
      const unknownOptions = [...packet.parameters.keys()].filter((name) => name.startsWith('_pq_.'));
      const minor = Math.min(packet.minor, protocolMinorMax);
      if (packet.minor > minor || unknownOptions.length > 0) write(encodeNegotiateProtocolVersion(minor, unknownOptions));
      return { ...packet, minor };
    }
    if (refused.has(packet.kind)) throw new GateError('protocol-violation', 'encryption was asked for twice');
    refused.add(packet.kind);
    if (queue.rest.length > 0) {
      throw new GateError('protocol-violation', 'bytes were sent behind an encryption request before its answer');
    }
    write(Buffer.from('N'));
  }
}

/** The SCRAM-SHA-256 exchange. Answers the last message to send once the rest of the login has worked. */
export async function authenticate(
  queue: ByteQueue,
  write: (bytes: Buffer) => void,
  verifier: string,
  nonce: string,
): Promise<Buffer> {
  const scram = new ScramServer(parseVerifier(verifier), nonce);
  write(encodeAuthenticationSasl([scramMechanism]));
  const initial = new ByteReader(await readPasswordMessage(queue));
  const mechanism = initial.string();
  if (mechanism !== scramMechanism) throw new GateError('protocol-violation', `the mechanism ${mechanism} was not offered`);
  const clientFirst = initial.take(initial.int32()).toString('utf8');
  initial.end();
  write(encodeAuthenticationSaslContinue(scram.start(clientFirst)));
  const clientFinal = (await readPasswordMessage(queue)).subarray(5).toString('utf8');
  return encodeAuthenticationSaslFinal(scram.finish(clientFinal));
}

async function readPasswordMessage(queue: ByteQueue): Promise<Buffer> {
  const header = await queue.peek(5);
  const length = header.readUInt32BE(1);
  const type = header[0] as number;
  if (type !== 0x70) throw new GateError('protocol-violation', `message ${describeType(type)} came in place of the password`);
  if (length < 4 || length > saslBodyBytesMax) {
    throw new GateError('protocol-violation', `a password message of ${length} bytes is not taken`);
  }
  return queue.take(length + 1);
}

/**
 * Settings that a client may begin with: how values are shown, how long to wait, how much memory to take, and where names
 * are looked up. Every role may SET them as well. They are recorded with the connection.
 */
const passedOn = new Set([
  'client_min_messages',
  'search_path',
  'work_mem',
  'idle_session_timeout',
  'transaction_timeout',
  'datestyle',
  'intervalstyle',
  'timezone',
  'extra_float_digits',
  'bytea_output',
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'jit',
  'geqo',
]);

/**
 * What the client asks for that may be passed on. What is not understood is refused by name: some parameters, and
 * settings in `options`, change who acts and how text is read.
 */
export function clientSettings(parameters: ReadonlyMap<string, string>): Record<string, string> {
  const passed: Record<string, string> = {};
  const { options = '', ...others } = Object.fromEntries(parameters);
  // As in the server, a parameter of its own wins over the same one in `options`.
  for (const [name, value] of [...splitOptions(options), ...Object.entries(others)]) {
    const lower = name.toLowerCase();
    const pinned = pinnedSettings.get(lower);
    if (['user', 'database', 'application_name'].includes(name) || name.startsWith('_pq_.')) continue;
    if (pinned !== undefined) checkPinned(lower, value, pinned);
    else if (passedOn.has(lower)) passed[lower] = value;
    else {
      throw new GateError('not-supported', `the start-up parameter "${name}" is not accepted`, {
        rule: 'startup-parameters',
        hint: lower === 'replication' ? 'Replication is not supported.' : `Leave it out, or use SET after connecting.`,
      });
    }
  }
  return passed;
}

/** The parameters for the relay's own start-up packet, which is built anew. */
export function upstreamParameters(
  settings: Readonly<Record<string, string>>,
  own: {
    readonly applicationName: string;
    readonly isReadOnly: boolean;
    readonly statementTimeoutMs?: number;
    /** For a principal with masks: where bare names are looked up, and the key of hashes. */
    readonly masked?: { readonly path: readonly string[]; readonly key: Readonly<Record<string, string>> };
  },
): Record<string, string> {
  return {
    ...settings,
    ...(own.masked && { search_path: formatSearchPath(own.masked.path), ...own.masked.key }),
    ...(own.statementTimeoutMs !== undefined && { statement_timeout: cappedTimeout(settings['statement_timeout'], own.statementTimeoutMs) }),
    ...Object.fromEntries(pinnedSettings),
    application_name: own.applicationName,
    // Should the relay die, the server notices within this time and ends what it was running (PostgreSQL 14 and later).
    client_connection_check_interval: '2s',
    ...(own.isReadOnly && { default_transaction_read_only: 'on' }),
  };
}

/** The client's own timeout where it is shorter. RESET returns to what is set here. */
function cappedTimeout(asked: string | undefined, capMs: number): string {
  const askedMs = asked === undefined ? undefined : parseTimeout(asked);
  return String(askedMs === undefined || askedMs === 0 ? capMs : Math.min(askedMs, capMs));
}

/** `-c name=value` and `--name=value`, split as the server splits them; a backslash keeps the character behind it. */
function splitOptions(options: string): [string, string][] {
  const words = (options.match(/(?:\\[^]|[^ \t\n\v\f\r\\])+/g) ?? []).map((word) => word.replaceAll(/\\([^])/g, '$1'));
  const settings: [string, string][] = [];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const [, name, value] = /^(?:--|-c)([^=]+)=([^]*)$/.exec(word === '-c' ? `-c${words.shift() ?? ''}` : word) ?? [];
    if (name === undefined || value === undefined) {
      throw new GateError('not-supported', 'the start-up parameter "options" takes settings only', {
        rule: 'startup-parameters',
        hint: 'Write them as -c name=value.',
      });
    }
    settings.push([name.replaceAll('-', '_'), value]);
  }
  return settings;
}

function checkPinned(name: string, value: string, pinned: string): void {
  // psql asks for SQL_ASCII in the C locale; bytes are then taken as they come, which UTF8 serves as well.
  if (isSameSetting(value, pinned) || (name === 'client_encoding' && value.toUpperCase() === 'SQL_ASCII')) return;
  throw new GateError('not-supported', `the start-up parameter "${name}" must be ${pinned}, not ${value}`, {
    rule: 'startup-parameters',
    hint: name === 'client_encoding' ? 'Set PGCLIENTENCODING=UTF8.' : `Leave it out.`,
  });
}
