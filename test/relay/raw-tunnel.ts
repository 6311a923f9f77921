/** A WebSocket client for the tunnel that breaks the rules when told to. */
import { randomBytes } from 'node:crypto';
import { serialize } from 'pg-protocol';
import { WebSocket } from 'ws';
import { decodeAuthentication } from '../../src/pgwire/backend.ts';
import { FrameScanner } from '../../src/pgwire/frame.ts';
import { ScramClient } from '../../src/pgwire/scram.ts';
import { describeReply, type Reply } from './raw-client.ts';

export type Closed = { readonly code: number; readonly reason: string };

export class RawTunnel {
  readonly socket: WebSocket;
  readonly replies: Reply[] = [];
  readonly closed: Promise<Closed>;
  isClosed = false;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    const scanner = new FrameScanner({
      begin: () => 'whole',
      raw: () => undefined,
      message: (type, bytes) => this.replies.push({ type: String.fromCharCode(type), bytes: Buffer.from(bytes) }),
    });
    socket.on('message', (data) => scanner.push(data as Buffer));
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        this.isClosed = true;
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  /** Resolves with the HTTP status where the upgrade is refused. */
  static open(
    relayUrl: string,
    path: string,
    headers: Record<string, string>,
  ): Promise<{ tunnel: RawTunnel; status: 101 } | { tunnel: undefined; status: number; body: string }> {
    const socket = new WebSocket(`${relayUrl.replace(/^http/, 'ws')}${path}`, { headers, perMessageDeflate: false });
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve({ tunnel: new RawTunnel(socket), status: 101 }));
      socket.once('unexpected-response', (_, response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.on('end', () => resolve({ tunnel: undefined, status: response.statusCode ?? 0, body }));
      });
      socket.once('error', reject);
    });
  }

  async logIn(login: { user: string; database: string; password: string }): Promise<void> {
    this.socket.send(serialize.startup({ user: login.user, database: login.database }));
    const scram = new ScramClient(login.password, randomBytes(18).toString('base64'));
    await this.next('R');
    this.socket.send(serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', scram.clientFirst));
    const challenge = decodeAuthentication((await this.next('R')).bytes);
    if (challenge.method !== 'sasl-continue') throw new Error(challenge.method);
    this.socket.send(serialize.sendSCRAMClientFinalMessage(scram.answer(challenge.data)));
    await this.next('Z');
    this.replies.length = 0;
  }

  async next(type: string): Promise<Reply> {
    const giveUp = Date.now() + 20_000;
    for (;;) {
      const at = this.replies.findIndex((reply) => reply.type === type);
      if (at !== -1) return this.replies.splice(0, at + 1).at(-1) as Reply;
      if (this.isClosed || Date.now() > giveUp) throw new Error(`no ${type}; got ${this.replies.map(describeReply).join(' ')}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
