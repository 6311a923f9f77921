/** A PostgreSQL client that does next to nothing with what it gets: it counts, so that a short result is noticed. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { serialize } from 'pg-protocol';
import { decodeAuthentication, decodeCommandTag, decodeReport } from '../../src/pgwire/backend.ts';
import { cstring, encodeMessage, int16 } from '../../src/pgwire/bytes.ts';
import { encodeExecute, encodeParse, encodeQuery, encodeStartup } from '../../src/pgwire/frontend.ts';
import { ScramClient, scramMechanism } from '../../src/pgwire/scram.ts';
import type { Way } from './way.ts';

const readBytes = 256 * 1024;
const headerBytes = 5;

/** What came back up to ReadyForQuery. `bytes` are those of rows and copy data with their headers. */
export type Answer = { readonly rows: number; readonly bytes: number; readonly tag: string; readonly firstRow: Buffer | undefined };

type Waiter = { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void };

export class WireClient {
  readonly #socket: Socket;
  readonly #way: Way;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFill = 0;
  #type = 0;
  #missing = 0;
  /** Of a message that is looked at; undefined inside one that is only counted. */
  #body: Buffer | undefined;
  #answer = emptyAnswer();
  #error: Error | undefined;
  #waiter: Waiter | undefined;
  #onCopyIn: (() => void) | undefined;
  #scram: ScramClient | undefined;
  #paused: Promise<Answer> | undefined;

  private constructor(way: Way) {
    this.#way = way;
    // One buffer for all reads: the client shall not be what is measured.
    const buffer = Buffer.allocUnsafe(readBytes);
    const callback = (length: number, bytes: Uint8Array): boolean => {
      this.#take(bytes as Buffer, length);
      return true;
    };
    this.#socket = connect({ host: way.host, port: way.port, noDelay: true, onread: { buffer, callback } });
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  /** Resolves when the server is ready for a query. */
  static async open(way: Way): Promise<WireClient> {
    const client = new WireClient(way);
    await client.exchange(encodeStartup(0, { user: way.user, database: way.database }));
    return client;
  }

  query(sql: string): Promise<Answer> {
    return this.exchange(encodeQuery(sql));
  }

  /** By the extended protocol, all columns in binary. */
  queryBinary(sql: string): Promise<Answer> {
    const bind = encodeMessage('B', cstring(''), cstring(''), int16(0), int16(0), int16(1), int16(1));
    return this.exchange(Buffer.concat([encodeParse('', sql), bind, encodeExecute('', 0), encodeMessage('S')]));
  }

  prepare(name: string, sql: string): Promise<Answer> {
    return this.exchange(Buffer.concat([encodeParse(name, sql), encodeMessage('S')]));
  }

  /** A prepared statement without parameters. */
  execute(name: string): Promise<Answer> {
    const bind = encodeMessage('B', cstring(''), cstring(name), int16(0), int16(0), int16(0));
    return this.exchange(Buffer.concat([bind, encodeExecute('', 0), encodeMessage('S')]));
  }

  /** So many runs of it with one Sync behind them all. */
  executeMany(name: string, times: number): Promise<Answer> {
    const bind = encodeMessage('B', cstring(''), cstring(name), int16(0), int16(0), int16(0));
    const run = Buffer.concat([bind, encodeExecute('', 0)]);
    return this.exchange(Buffer.concat([...Array.from({ length: times }, () => run), encodeMessage('S')]));
  }

  /** COPY FROM STDIN of the same lines again and again, only as fast as they are taken. */
  async copyIn(sql: string, lines: Buffer, times: number): Promise<Answer> {
    const opened = new Promise<void>((resolve) => (this.#onCopyIn = resolve));
    const done = this.exchange(encodeQuery(sql));
    await Promise.race([opened, done]);
    const message = encodeMessage('d', lines);
    for (let sent = 0; sent < times && this.#waiter !== undefined; sent++) {
      if (!this.#socket.write(message)) await Promise.race([once(this.#socket, 'drain'), done]);
    }
    this.#socket.write(encodeMessage('c'));
    return done;
  }

  /** Sends, and resolves at ReadyForQuery; rejects with the server's error. */
  exchange(bytes: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#answer = emptyAnswer();
      this.#error = undefined;
      this.#waiter = { resolve, reject };
      this.#socket.write(bytes);
    });
  }

  /** Sends a query and reads nothing of what comes of it before `readOn`. */
  askAndStopReading(sql: string): void {
    this.#socket.pause();
    this.#paused = this.exchange(encodeQuery(sql));
    // Told where it is waited for.
    this.#paused.catch(() => undefined);
  }

  async readOn(): Promise<Answer> {
    this.#socket.resume();
    if (this.#paused === undefined) throw new Error('nothing was asked');
    return this.#paused;
  }

  close(): void {
    this.#waiter = undefined;
    this.#socket.end(encodeMessage('X'));
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#waiter = undefined;
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    this.#waiter?.reject(error);
    this.#waiter = undefined;
  }

  #take(bytes: Buffer, length: number): void {
    let at = 0;
    while (at < length) {
      if (this.#headerFill < headerBytes) {
        const taken = Math.min(headerBytes - this.#headerFill, length - at);
        bytes.copy(this.#header, this.#headerFill, at, at + taken);
        at += taken;
        if ((this.#headerFill += taken) < headerBytes) return;
        this.#begin();
      }
      const taken = Math.min(this.#missing, length - at);
      if (this.#body !== undefined && taken > 0) bytes.copy(this.#body, this.#body.length - this.#missing, at, at + taken);
      at += taken;
      this.#missing -= taken;
      if (this.#missing > 0) return;
      this.#headerFill = 0;
      if (this.#body !== undefined) this.#message(this.#body);
    }
  }

  #begin(): void {
    this.#type = this.#header[0] as number;
    this.#missing = this.#header.readUInt32BE(1) - 4;
    const isRow = this.#type === 0x44;
    const isData = isRow || this.#type === 0x64;
    const isKept = !isData || (isRow && this.#answer.rows === 0);
    if (isData) {
      if (isRow) this.#answer.rows++;
      this.#answer.bytes += this.#missing + headerBytes;
    }
    this.#body = isKept ? Buffer.allocUnsafe(headerBytes + this.#missing) : undefined;
    if (this.#body !== undefined) this.#header.copy(this.#body);
  }

  #message(bytes: Buffer): void {
    switch (String.fromCharCode(this.#type)) {
      case 'R':
        return this.#authenticate(bytes);
      case 'D':
        this.#answer.firstRow = bytes;
        return;
      case 'C':
        this.#answer.tag = decodeCommandTag(bytes);
        return;
      case 'G':
        return this.#onCopyIn?.();
      case 'E':
        this.#error = new Error(`${this.#way.name}: ${decodeReport(bytes).get('M') ?? 'an error without a message'}`);
        return;
      case 'Z': {
        const waiter = this.#waiter;
        this.#waiter = undefined;
        if (this.#error === undefined) waiter?.resolve(this.#answer);
        else waiter?.reject(this.#error);
      }
    }
  }

  #authenticate(bytes: Buffer): void {
    const request = decodeAuthentication(bytes);
    if (request.method === 'ok') return;
    if (request.method === 'sasl') {
      this.#scram = new ScramClient(this.#way.password, randomBytes(18).toString('base64'));
      this.#socket.write(serialize.sendSASLInitialResponseMessage(scramMechanism, this.#scram.clientFirst));
    } else if (request.method === 'sasl-continue' && this.#scram !== undefined) {
      this.#socket.write(serialize.sendSCRAMClientFinalMessage(this.#scram.answer(request.data)));
    } else if (request.method === 'sasl-final') this.#scram?.verify(request.data);
    else this.#fail(new Error(`${this.#way.name}: asks for the authentication ${request.method}`));
  }
}

function emptyAnswer(): { rows: number; bytes: number; tag: string; firstRow: Buffer | undefined } {
  return { rows: 0, bytes: 0, tag: '', firstRow: undefined };
}

/** The first field of a row, as text. */
export function firstField({ firstRow }: Answer): string {
  if (firstRow === undefined) throw new Error('there was no row');
  const length = firstRow.readInt32BE(7);
  return firstRow.toString('utf8', 11, 11 + length);
}


/** Opens, uses, closes. */
export async function withClient<T>(way: Way, use: (client: WireClient) => Promise<T>): Promise<T> {
  const client = await WireClient.open(way);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}
