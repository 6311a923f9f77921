/** A PostgreSQL client that sends exactly the bytes it is told to, for what no driver would do. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { decodeAuthentication, decodeReport } from '../../src/pgwire/backend.ts';
import { FrameScanner } from '../../src/pgwire/frame.ts';
import { ScramClient } from '../../src/pgwire/scram.ts';
import { serialize } from 'pg-protocol';

export type Address = { readonly host: string; readonly port: number };
export type Reply = { readonly type: string; readonly bytes: Buffer };

export class RawClient {
  readonly socket: Socket;
  readonly replies: Reply[] = [];
  #wake: (() => void)[] = [];
  isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    const scanner = new FrameScanner({
      begin: () => 'whole',
      raw: () => undefined,
      message: (type, bytes) => this.replies.push({ type: String.fromCharCode(type), bytes: Buffer.from(bytes) }),
    });
    socket.on('data', (chunk: Buffer) => {
      scanner.push(chunk);
      this.#notify();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
      this.#notify();
    });
  }

  /** Without Nagle's delay: what is sent in several writes would wait 40 ms for an acknowledgement between the first two. */
  static async open(address: Address): Promise<RawClient> {
    const socket = connect({ ...address, noDelay: true });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new RawClient(socket);
  }

  static async logIn(address: Address, login: { user: string; database: string; password: string }): Promise<RawClient> {
    const client = await RawClient.open(address);
    client.send(serialize.startup({ user: login.user, database: login.database }));
    const scram = new ScramClient(login.password, randomBytes(18).toString('base64'));
    await client.next('R');
    client.send(serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', scram.clientFirst));
    const challenge = decodeAuthentication((await client.next('R')).bytes);
    if (challenge.method !== 'sasl-continue') throw new Error(challenge.method);
    client.send(serialize.sendSCRAMClientFinalMessage(scram.answer(challenge.data)));
    await client.next('Z');
    client.replies.length = 0;
    return client;
  }

  send(...messages: Buffer[]): void {
    this.socket.write(Buffer.concat(messages));
  }

  /** The next reply of this type; earlier ones stay in `replies`. Fails when the connection closes first. */
  async next(type: string): Promise<Reply> {
    const reply = await this.until(() => this.replies.findIndex((candidate) => candidate.type === type));
    return this.replies.splice(0, reply + 1).at(-1) as Reply;
  }

  /** All replies up to and including the n-th ReadyForQuery, as a readable list: type, and what matters of it. */
  async upToReady(count = 1): Promise<string[]> {
    const at = await this.until(() => {
      let seen = 0;
      return this.replies.findIndex(({ type }) => type === 'Z' && ++seen === count);
    });
    return this.replies.splice(0, at + 1).map(describeReply);
  }

  async untilClosed(): Promise<string[]> {
    await this.until(() => (this.isClosed ? 0 : -1), true);
    return this.replies.splice(0).map(describeReply);
  }

  async until(find: () => number, allowClosed = false): Promise<number> {
    const giveUp = Date.now() + 20_000;
    for (;;) {
      const found = find();
      if (found !== -1) return found;
      if (this.isClosed && !allowClosed) throw new Error(`the connection closed after ${this.replies.map(describeReply).join(' ')}`);
      if (Date.now() > giveUp) throw new Error(`waited in vain; got ${this.replies.map(describeReply).join(' ')}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
        timer = setTimeout(resolve, 1000);
      });
      clearTimeout(timer);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #notify(): void {
    const waiters = this.#wake;
    this.#wake = [];
    for (const wake of waiters) wake();
  }
}

export function describeReply({ type, bytes }: Reply): string {
  switch (type) {
    case 'E': {
      const fields = decodeReport(bytes);
      return `E:${fields.get('C')}${fields.get('F') === 'gate' ? `:${fields.get('R')}` : ''}`;
    }
    case 'C':
      return `C:${bytes.subarray(5, -1).toString()}`;
    case 'Z':
      return `Z:${String.fromCharCode(bytes[5] as number)}`;
    default:
      return type;
  }
}

/** A cancel request as libpq sends it. */
export async function rawCancel(address: Address, pid: number, key: number): Promise<void> {
  const socket = connect(address);
  socket.write(serialize.cancel(pid, key));
  await new Promise((resolve) => socket.once('close', resolve).resume());
}
