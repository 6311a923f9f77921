/** One PostgreSQL connection inside a tunnel: whole messages out, read only as fast as they are taken. */
import { randomBytes } from 'node:crypto';
import { serialize } from 'pg-protocol';
import type { BackendKeyDataMessage, BackendMessage, DatabaseError, NoticeMessage } from 'pg-protocol/dist/messages.js';
import { Parser } from 'pg-protocol/dist/parser.js';
import { parseTunnelNews, type TunnelNews } from '../api/api.ts';
import { ERRORS, GateError, messageOf, type ErrorCode } from '../errors/errors.ts';
import { ScramClient, scramMechanism } from '../pgwire/scram.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { openTunnel, type TunnelRequest } from './open-tunnel.ts';
import type { OpenSession } from './session.ts';
import { errorOfReport } from './sql-error.ts';

/** How long the relay may take to close the tunnel after a goodbye, so that its record says so. */
const goodbyeTimeoutMs = 2000;

export type CancelKey = { readonly pid: number; readonly secret: number };

export class SqlConnection {
  readonly #parser = new Parser();
  readonly #chunks: Buffer[] = [];
  #tunnel: Tunnel | undefined;
  #end: { readonly code: number; readonly reason: string } | undefined;
  #wake: () => void = () => undefined;

  private constructor() {}

  /** Fails as `openTunnel` does. */
  static async open(request: TunnelRequest, onNews?: (news: TunnelNews) => void): Promise<SqlConnection> {
    const connection = new SqlConnection();
    connection.#tunnel = await openTunnel(request, {
      onData: (bytes) => {
        connection.#chunks.push(bytes);
        connection.#tunnel?.pause();
        connection.#wake();
      },
      onNews: (text) => {
        const news = parseTunnelNews(text);
        if (news !== undefined) onNews?.(news);
      },
      onDrain: () => undefined,
      onClose: (code, reason) => {
        connection.#end = { code, reason };
        connection.#wake();
      },
    });
    return connection;
  }

  write(bytes: Buffer): void {
    this.#tunnel?.write(bytes);
  }

  /**
   * The messages that arrived next, at least one. Nothing is read from the tunnel between two calls; a tunnel that
   * ended fails with the relay's reason once all messages before it were taken.
   */
  async read(): Promise<readonly BackendMessage[]> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        const messages = this.#parse(chunk);
        if (messages.length > 0) return messages;
      } else if (this.#end !== undefined) {
        throw errorOfEnd(this.#end.code, this.#end.reason);
      } else {
        await this.#moreArrived();
      }
    }
  }

  #parse(chunk: Buffer): BackendMessage[] {
    const messages: BackendMessage[] = [];
    try {
      this.#parser.parse(chunk, (message) => messages.push(message));
    } catch (error) {
      throw new GateError('upstream-protocol', `the answer cannot be read: ${messageOf(error)}`, { cause: error });
    }
    return messages;
  }

  #moreArrived(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#tunnel?.resume();
    });
  }

  /** Says goodbye and waits for the relay to close the tunnel. */
  async close(): Promise<void> {
    this.write(serialize.end());
    const timer = setTimeout(() => this.abandon(), goodbyeTimeoutMs);
    await this.closed();
    clearTimeout(timer);
  }

  /** Resolves when the other end has closed the tunnel, whatever it sends before. */
  async closed(): Promise<void> {
    while (this.#end === undefined) {
      this.#chunks.length = 0;
      await this.#moreArrived();
    }
  }

  /** Cuts the tunnel; the relay then cancels what still runs. */
  abandon(): void {
    this.#tunnel?.terminate();
  }
}

/** Start-up and SCRAM-SHA-256 with the session's password. Returns what a cancel request needs. */
export async function logIn(connection: SqlConnection, session: OpenSession): Promise<CancelKey> {
  const { user, database, password } = session;
  // pg-protocol adds client_encoding UTF8 by itself.
  connection.write(serialize.startup({ user, database, application_name: 'gate exec' }));
  const scram = new ScramClient(password, randomBytes(18).toString('base64'));
  let key: CancelKey = { pid: 0, secret: 0 };
  let isProven = false;
  for (;;) {
    for (const message of await connection.read()) {
      switch (message.name as string) {
        case 'authenticationSASL':
          connection.write(serialize.sendSASLInitialResponseMessage(scramMechanism, scram.clientFirst));
          break;
        case 'authenticationSASLContinue':
          connection.write(serialize.sendSCRAMClientFinalMessage(scram.answer(dataOf(message))));
          break;
        case 'authenticationSASLFinal':
          scram.verify(dataOf(message));
          isProven = true;
          break;
        case 'authenticationOk':
          // Whoever sits in the relay's place must know the verifier; a login without a proof is refused.
          if (!isProven) throw unexpected(message);
          break;
        case 'backendKeyData': {
          const { processID: pid, secretKey: secret } = message as BackendKeyDataMessage;
          key = { pid, secret };
          break;
        }
        case 'parameterStatus':
        case 'notice':
          break;
        case 'readyForQuery':
          if (!isProven) throw unexpected(message);
          return key;
        case 'error':
          throw errorOf(message, '');
        default:
          throw unexpected(message);
      }
    }
  }
}

/** An ErrorResponse as a GateError; also what pg-protocol makes of a message that it does not know. */
export function errorOf(message: BackendMessage, sql: string): GateError {
  const report = message as unknown as DatabaseError;
  if (report.severity === undefined) {
    return new GateError('upstream-protocol', `the answer cannot be read: ${report.message}`);
  }
  return errorOfReport(report, sql);
}

export function isFatal(message: BackendMessage): boolean {
  const { severity } = message as NoticeMessage;
  return severity === undefined || severity === 'FATAL' || severity === 'PANIC';
}

export function unexpected(message: BackendMessage): GateError {
  return new GateError('upstream-protocol', `the server sent ${message.name} where none was due`);
}

function dataOf(message: BackendMessage): string {
  return 'data' in message ? String(message.data) : '';
}

/** The relay closes with the code of its error where there is one; without it the tunnel broke. */
function errorOfEnd(closeCode: number, reason: string): GateError {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  const code = codes.find((name) => ERRORS[name].close === closeCode && (closeCode >= 4000 || closeCode === 1012));
  if (code !== undefined) return new GateError(code, reason || 'the relay ended the connection');
  const message = reason === '' ? 'the connection to the relay broke' : `the relay ended the connection: ${reason}`;
  return new GateError('relay-unreachable', message, {
    hint: 'What ran last may or may not have taken effect; gate sessions list shows what is on record.',
  });
}
