/** A connection of the relay's own beside those of clients, for questions about the database: one at a time, all rows as text. */
import { serialize } from 'pg-protocol';
import { GateError } from '../errors/errors.ts';
import { decodeReport } from '../pgwire/backend.ts';
import { describeType, FrameScanner } from '../pgwire/frame.ts';
import { encodeQuery, terminateMessage, type BoundValue } from '../pgwire/frontend.ts';
import type { Target } from './config.ts';
import { Turns } from './turns.ts';
import { openUpstream, type Upstream } from './upstream.ts';

export type Row = readonly (string | null)[];

/** A query that takes longer is given up, with its connection. */
const queryTimeoutMs = 60_000;
/** No row is longer; a hostile server gets no more memory than this for one, and than the next for all. */
const rowBytesMax = 16 * 1024 * 1024;
const answerBytesMax = 512 * 1024 * 1024;

export class SideConnection {
  readonly #upstream: Upstream;
  #waiting: { onRow: (row: Row) => void; resolve: () => void; reject: (error: unknown) => void } | undefined;
  #answerBytes = 0;
  #failure: GateError | undefined;
  isBroken = false;

  private constructor(upstream: Upstream) {
    this.#upstream = upstream;
    const scanner = new FrameScanner({
      begin: (type, length) => this.#admit(type, length),
      raw: () => undefined,
      message: (type, bytes) => this.#take(String.fromCharCode(type), bytes),
    });
    const turns = new Turns();
    upstream.socket.on('data', (chunk: Buffer) => {
      try {
        scanner.push(chunk);
      } catch (error) {
        return this.#break(error);
      }
      // A large answer comes in as many chunks as a turn of the event loop can take.
      if (!turns.isOver) return;
      upstream.socket.pause();
      void turns.next().then(() => upstream.socket.resume());
    });
    upstream.socket.on('close', () => this.#break(new GateError('upstream-unreachable', 'the database closed the connection')));
    upstream.socket.resume();
  }

  /** `settings` are start-up parameters. Nothing asked here writes. Fails as `openUpstream` does. */
  static async open(target: Target, settings: Readonly<Record<string, string>> = {}): Promise<SideConnection> {
    const own = { application_name: 'gate relay', client_encoding: 'UTF8', default_transaction_read_only: 'on' };
    return new SideConnection(await openUpstream(target, { ...settings, ...own }));
  }

  /** As the server reported it, for example 18. */
  get serverMajor(): number {
    return Number.parseInt(this.#upstream.parameters.get('server_version') ?? '', 10);
  }

  /** Hands over the rows as they come. Fails with the server's words; a failure other than an error of SQL ends the connection. */
  async each(sql: string, onRow: (row: Row) => void, values?: readonly BoundValue[]): Promise<void> {
    if (this.isBroken) throw new GateError('upstream-unreachable', 'the connection is closed');
    const timer = setTimeout(() => this.#break(new GateError('upstream-unreachable', 'the query took too long')), queryTimeoutMs);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting = { onRow, resolve, reject };
        this.#answerBytes = 0;
        this.#failure = undefined;
        this.#upstream.socket.write(values === undefined ? encodeQuery(sql) : encodeExtended(sql, values));
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async rows(sql: string, values?: readonly BoundValue[]): Promise<Row[]> {
    const rows: Row[] = [];
    await this.each(sql, (row) => rows.push(row), values);
    return rows;
  }

  close(): void {
    this.isBroken = true;
    this.#upstream.socket.end(terminateMessage);
    this.#upstream.socket.destroySoon();
  }

  #admit(type: number, length: number): 'whole' {
    this.#answerBytes += length;
    if (length > rowBytesMax || this.#answerBytes > answerBytesMax) {
      throw new GateError('upstream-protocol', `the server sent ${length} bytes in message ${describeType(type)} of an answer`);
    }
    return 'whole';
  }

  #take(type: string, bytes: Buffer): void {
    switch (type) {
      case 'D':
        this.#waiting?.onRow(decodeRow(bytes));
        break;
      case 'E':
        this.#failure = new GateError('upstream-unreachable', decodeReport(bytes).get('M') ?? 'no reason given');
        break;
      case 'Z': {
        const { resolve, reject } = this.#waiting ?? {};
        this.#waiting = undefined;
        if (this.#failure === undefined) resolve?.();
        else reject?.(this.#failure);
        break;
      }
      default:
    }
  }

  #break(error: unknown): void {
    if (!this.isBroken) {
      this.isBroken = true;
      this.#upstream.socket.destroy();
    }
    this.#waiting?.reject(this.#failure ?? error);
    this.#waiting = undefined;
  }
}

/** Text stays text, bytes stay bytes: pg-protocol chooses the format by the type of the value. */
function encodeExtended(sql: string, values: readonly BoundValue[]): Buffer {
  const bound = values.map((value) => (value?.format === 'text' ? value.bytes.toString('utf8') : (value?.bytes ?? null)));
  return Buffer.concat([serialize.parse({ text: sql }), serialize.bind({ values: bound }), serialize.execute({}), serialize.sync()]);
}

/** DataRow: a count, then length and bytes of each column; -1 for NULL. */
function decodeRow(bytes: Buffer): Row {
  const row: (string | null)[] = [];
  let at = 7;
  for (let left = bytes.readInt16BE(5); left > 0; left--) {
    const length = bytes.readInt32BE(at);
    at += 4;
    if (at + Math.max(0, length) > bytes.length) throw new GateError('upstream-protocol', 'the server sent a row that ends too early');
    row.push(length < 0 ? null : bytes.toString('utf8', at, at + length));
    at += Math.max(0, length);
  }
  return row;
}
