/** The relay's own login at a database: TLS first, then SCRAM, md5, password or trust, then the server's greeting. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { serialize } from 'pg-protocol';
import { GateError, messageOf } from '../errors/errors.ts';
import {
  decodeAuthentication,
  decodeBackendKeyData,
  decodeParameterStatus,
  decodeReport,
  type Authentication,
} from '../pgwire/backend.ts';
import { describeType, FrameScanner } from '../pgwire/frame.ts';
import { encodeStartup } from '../pgwire/frontend.ts';
import { ScramClient, scramMechanism } from '../pgwire/scram.ts';
import { ReusedReads, type Receive } from '../tunnel/reused-reads.ts';
import type { Target } from './config.ts';
import { saltFor } from './salted-passwords.ts';

export const connectTimeoutMs = 15_000;
/** Past this silence the system probes a connection: a server whose machine is gone says no goodbye. */
const keepAliveMs = 30_000;
/** No message of a login is larger; a hostile server gets no more memory than this. */
const loginBodyBytesMax = 64 * 1024;
/** Nor do all messages of a login together come near this. */
const loginBytesMax = 1024 * 1024;

export type Upstream = {
  /** Paused; nothing behind ReadyForQuery has been read. */
  readonly socket: Socket;
  readonly parameters: ReadonlyMap<string, string>;
  readonly pid: number;
  readonly key: Buffer;
  /** From now on; to be called once, before the socket is resumed. */
  readonly receive: (receive: Receive) => void;
};

type OpenSocket = { readonly socket: Socket; readonly reads?: ReusedReads };

/** Opens and authenticates one database connection. Fails with `upstream-unreachable`, or with the server's own error. */
export async function openUpstream(target: Target, startup: Readonly<Record<string, string>>): Promise<Upstream> {
  try {
    return await openWithProtocol(2, target, startup);
  } catch (error) {
    // Servers negotiate down by themselves; some poolers in front of them refuse what they do not know.
    if (error instanceof ProtocolRefused) return openWithProtocol(0, target, startup);
    throw error;
  }
}

async function openWithProtocol(minor: number, target: Target, startup: Readonly<Record<string, string>>): Promise<Upstream> {
  return inTime(async (signal) => {
    const { socket, reads } = await openSocket(target, signal);
    try {
      const packet = encodeStartup(minor, { user: target.user, database: target.database, ...startup });
      const login = await logIn(socket, target, packet, signal);
      const receive = (receiver: Receive): void => void (reads === undefined ? socket.on('data', receiver) : reads.receive(socket, receiver));
      return { socket, parameters: login.parameters, pid: login.pid, key: login.key, receive };
    } catch (error) {
      socket.destroy();
      throw error instanceof GateError ? error : unreachable(target, error);
    }
  });
}

/** The timer ends with the work: those of AbortSignal.timeout would all go off later, with an error each that nobody sees. */
async function inTime<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), connectTimeoutMs).unref();
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks the server to cancel what backend `pid` does; resolves when the server has closed the request's connection. */
export function requestCancel(target: Target, pid: number, key: Buffer): Promise<void> {
  return inTime((signal) => sendCancel(target, pid, key, signal));
}

async function sendCancel(target: Target, pid: number, key: Buffer, signal: AbortSignal): Promise<void> {
  const { socket } = await openSocket(target, signal);
  const request = Buffer.alloc(12 + key.length);
  request.writeUInt32BE(request.length, 0);
  request.writeUInt32BE(80877102, 4);
  request.writeInt32BE(pid, 8);
  key.copy(request, 12);
  try {
    const closed = once(socket, 'close', { signal });
    socket.on('error', () => undefined);
    socket.resume().end(request);
    await closed;
  } finally {
    // A server that never answers must not keep a socket for each request.
    socket.destroy();
  }
}

async function openSocket(target: Target, signal: AbortSignal): Promise<OpenSocket> {
  const { host, port, ca, tls } = target;
  const place = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
  // TLS that is begun on an open socket reads that by itself.
  const reads = tls === 'disable' ? new ReusedReads() : undefined;
  const socket = connect({ ...place, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs, ...(reads && { onread: reads.onread }) });
  try {
    await once(socket, 'connect', { signal });
    if (reads !== undefined) return { socket, reads };
    socket.write(serialize.requestSsl());
    const [answer] = (await once(socket, 'data', { signal })) as [Buffer];
    // Exactly one byte: anything more was put there by somebody in between (CVE-2021-23222).
    if (answer.length !== 1 || answer[0] !== 0x53) {
      throw new Error('the server does not offer TLS; the target says tls: verify-full');
    }
    const secure = connectTls({ socket, ...(ca !== undefined && { ca }), ...(isIP(host) === 0 && { servername: host }), host });
    await once(secure, 'secureConnect', { signal });
    return { socket: secure };
  } catch (error) {
    socket.destroy();
    throw unreachable(target, error);
  }
}

function logIn(
  socket: Socket,
  target: Target,
  startup: Buffer,
  signal: AbortSignal,
): Promise<Login> {
  return new Promise((resolve, reject) => {
    const login = new Login(target, (bytes) => socket.write(bytes));
    const scanner = new FrameScanner(login);
    const fail = (error: unknown) => {
      stop();
      reject(error);
    };
    const onAbort = () => fail(new Error('the login took too long'));
    const onClose = () => fail(new Error('the server closed the connection during login'));
    const onData = (chunk: Buffer) => {
      try {
        scanner.push(chunk);
      } catch (error) {
        return fail(error);
      }
      if (!login.isReady) return;
      stop();
      resolve(login);
    };
    const stop = () => {
      socket.pause();
      socket.off('data', onData).off('error', fail).off('close', onClose);
      // The owner is told by `close`; until then an error must not bring the relay down.
      socket.on('error', ignore);
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort);
    socket.on('data', onData).on('error', fail).on('close', onClose);
    socket.write(startup);
    socket.resume();
  });
}

/** Not a closure: that would keep all of the login alive for as long as the connection lasts. */
function ignore(): void {}

/** The messages of one login, in the order that section 54.2.1 allows. */
class Login {
  readonly parameters = new Map<string, string>();
  #bytes = 0;
  pid = 0;
  key: Buffer = Buffer.alloc(0);
  isReady = false;
  #scram: ScramClient | undefined;
  #isAuthenticated = false;
  readonly #target: Target;
  readonly #send: (bytes: Buffer) => void;

  constructor(target: Target, send: (bytes: Buffer) => void) {
    this.#target = target;
    this.#send = send;
  }

  begin(type: number, bodyLength: number): 'whole' {
    if (bodyLength > loginBodyBytesMax) {
      throw new GateError('upstream-protocol', `the server sent ${bodyLength} bytes in message ${describeType(type)} during login`);
    }
    this.#bytes += bodyLength + 5;
    if (this.#bytes > loginBytesMax) {
      throw new GateError('upstream-protocol', `the server sent more than ${loginBytesMax} bytes during login`);
    }
    return 'whole';
  }

  raw(): void {
    // `begin` asks for whole messages only.
  }

  message(type: number, bytes: Buffer): void {
    if (this.isReady) throw new GateError('upstream-protocol', 'the server went on after ReadyForQuery');
    switch (String.fromCharCode(type)) {
      case 'R':
        return this.#authenticate(decodeAuthentication(bytes));
      case 'E':
        throw loginError(decodeReport(bytes), this.#target);
      case 'S': {
        const { name, value } = decodeParameterStatus(bytes);
        this.parameters.set(name, value);
        return;
      }
      case 'K':
        this.#keepKey(decodeBackendKeyData(bytes));
        return;
      case 'N':
      case 'v':
        return;
      case 'Z':
        if (!this.#isAuthenticated) throw new GateError('upstream-protocol', 'the server was ready before the login was done');
        this.isReady = true;
        return;
      default:
        throw new GateError('upstream-protocol', `the server sent message ${describeType(type)} during login`);
    }
  }

  /** As a copy: the bytes are a part of what was read, all of which would be kept. */
  #keepKey({ pid, key }: { readonly pid: number; readonly key: Buffer }): void {
    this.pid = pid;
    this.key = Buffer.alloc(key.length);
    key.copy(this.key);
  }

  #authenticate(request: Authentication): void {
    const { name, user, password, tls } = this.#target;
    if (request.method === 'ok') {
      // A server that asked for SCRAM and then skips its proof is not the one that knows the password.
      if (this.#scram !== undefined) throw new GateError('upstream-protocol', 'the server did not finish SCRAM');
      this.#isAuthenticated = true;
      return;
    }
    if (password === undefined) {
      throw new GateError('upstream-unreachable', `the database of target ${name} asks for a password, and none is configured`);
    }
    switch (request.method) {
      case 'cleartext':
        if (tls === 'disable') throw new GateError('upstream-protocol', `target ${name} asks for the password in clear text without TLS`);
        return this.#send(serialize.password(password));
      case 'md5':
        return this.#send(serialize.password(`md5${md5(md5(password + user), request.salt)}`));
      case 'sasl':
        if (!request.mechanisms.includes(scramMechanism)) break;
        this.#scram = new ScramClient(password, randomBytes(18).toString('base64'), saltFor(this.#target));
        return this.#send(serialize.sendSASLInitialResponseMessage(scramMechanism, this.#scram.clientFirst));
      case 'sasl-continue':
        if (this.#scram === undefined) break;
        return this.#send(serialize.sendSCRAMClientFinalMessage(this.#scram.answer(request.data)));
      case 'sasl-final':
        if (this.#scram === undefined) break;
        this.#scram.verify(request.data);
        this.#scram = undefined;
        return;
      case 'other':
    }
    throw new GateError('upstream-protocol', `the database of target ${name} asks for an authentication that the relay does not do`);
  }
}

/** The server or a pooler does not speak the protocol version that was asked for. */
class ProtocolRefused extends GateError {}

/** The server, the database or the relay's role has all the connections that it may have. */
export class ServerFull extends GateError {}

function md5(text: string, salt: Buffer = Buffer.alloc(0)): string {
  return createHash('md5').update(text).update(salt).digest('hex');
}

/** Class 28 would tell callers about the relay's own account; everything else concerns what they asked for. */
function loginError(fields: ReadonlyMap<string, string>, target: Target): GateError {
  const sqlstate = fields.get('C') ?? '';
  const message = fields.get('M') ?? 'no reason given';
  if (/unsupported (?:frontend )?protocol/.test(message)) {
    return new ProtocolRefused('upstream-protocol', `the database of target ${target.name}: ${message}`);
  }
  if (sqlstate.startsWith('28')) {
    return new GateError('upstream-unreachable', `the database of target ${target.name} refused the relay's login`, {
      cause: new Error(message),
      hint: "The relay's operator finds the reason in its log.",
    });
  }
  const text = `the database of target ${target.name} refused the connection: ${message} (${sqlstate})`;
  return sqlstate === '53300' ? new ServerFull('upstream-unreachable', text) : new GateError('upstream-unreachable', text);
}

function unreachable(target: Target, cause: unknown): GateError {
  if (cause instanceof GateError) return cause;
  const reason = cause instanceof Error && cause.name === 'AbortError' ? 'it took too long' : messageOf(cause);
  return new GateError('upstream-unreachable', `cannot reach the database of target ${target.name}: ${reason}`, { cause });
}
