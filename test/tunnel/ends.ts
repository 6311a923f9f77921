/** Two ends of a tunnel over a wire that a test can stop, and what happened to each. */
import { once } from 'node:events';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { acceptUpgrade, requestUpgrade, type Upgraded } from '../../src/tunnel/handshake.ts';
import { Tunnel, type TunnelOptions } from '../../src/tunnel/tunnel.ts';

/** One end with what happened to it. */
export class End {
  readonly tunnel: Tunnel;
  readonly socket: Socket;
  readonly closes: { code: number; reason: string }[] = [];
  readonly news: string[] = [];
  received: Buffer[] = [];
  bytes = 0;
  drains = 0;

  constructor(upgraded: Upgraded, options: TunnelOptions & { readonly takesNews?: boolean } = {}) {
    this.socket = upgraded.socket;
    this.tunnel = new Tunnel(
      upgraded,
      {
        onData: (bytes) => {
          this.bytes += bytes.length;
          this.received.push(bytes);
        },
        ...(options.takesNews && { onNews: (text: string) => this.news.push(text) }),
        onDrain: () => this.drains++,
        onClose: (code, reason) => this.closes.push({ code, reason }),
      },
      options,
    );
  }

  get all(): Buffer {
    return Buffer.concat(this.received);
  }
}

export async function until(what: string, condition: () => boolean): Promise<void> {
  const giveUp = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > giveUp) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Accepts upgrades behind a relay of plain TCP, so that the wire can be stopped without either end knowing. */
export class Line {
  /** The sockets of the wire between the two ends. */
  readonly wire: Socket[] = [];
  readonly #http: HttpServer;
  readonly #proxy: Server;
  readonly #accepted: ((upgraded: Upgraded) => void)[] = [];

  private constructor() {
    this.#http = createHttpServer();
    this.#http.on('upgrade', (request, socket, head) => {
      acceptUpgrade(request, socket as Socket, head, (upgraded) => this.#accepted.shift()?.(upgraded));
    });
    this.#proxy = createServer((socket) => {
      const onward = connect((this.#http.address() as AddressInfo).port, '127.0.0.1');
      for (const one of [socket, onward]) one.on('error', () => undefined);
      socket.pipe(onward).pipe(socket);
      this.wire.push(socket, onward);
    });
  }

  static async start(): Promise<Line> {
    const line = new Line();
    for (const server of [line.#http, line.#proxy]) await once(server.listen(0, '127.0.0.1'), 'listening');
    return line;
  }

  get port(): number {
    return (this.#proxy.address() as AddressInfo).port;
  }

  /** The relay's end of what connects next. */
  accept(): Promise<Upgraded> {
    return new Promise((resolve) => this.#accepted.push(resolve));
  }

  async dial(): Promise<Upgraded> {
    const answer = await requestUpgrade({ url: `ws://127.0.0.1:${this.port}`, timeoutMs: 10_000 });
    if ('response' in answer) throw new Error(`no upgrade: ${answer.response.statusCode}`);
    return answer;
  }

  async close(): Promise<void> {
    for (const socket of this.wire) socket.destroy();
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
    await new Promise((resolve) => this.#proxy.close(resolve));
  }
}
