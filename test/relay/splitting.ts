/** Cuts streams of bytes into pieces that arrive one by one, on either side of the relay. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Where a stream of bytes is cut; the whole chunk as it came while nothing is asked for. */
export type Cut = (bytes: Buffer) => Buffer[];
export const whole: Cut = (bytes) => [bytes];
export const single: Cut = (bytes) => Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));

/** Pieces of 1 to 200 bytes, most of them short, the same for the same seed. */
export function randomCut(seed: number): Cut {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return (bytes) => {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += pieces.at(-1)?.length ?? 0) {
      pieces.push(bytes.subarray(at, at + 1 + Math.floor(random() ** 3 * 200)));
    }
    return pieces;
  };
}

/** Between the relay and the server: hands on what the server says in pieces. */
export class SplittingProxy {
  cut: Cut = whole;
  port = 0;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();

  async start(upstream: () => number): Promise<void> {
    this.#server = createServer({ noDelay: true }, (down) => {
      const up = connect({ host: '127.0.0.1', port: upstream(), noDelay: true });
      for (const socket of [down, up]) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
      }
      down.on('data', (bytes) => up.write(bytes)).on('close', () => up.destroy());
      void this.#pump(up, down);
    });
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
  }

  async #pump(from: Socket, to: Socket): Promise<void> {
    try {
      for await (const bytes of from) await writePieces(to, this.cut(bytes as Buffer));
    } catch {
      // Either side has gone; so goes the other.
    }
    to.end();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server?.close();
    if (this.#server !== undefined) await once(this.#server, 'close');
  }
}

/** Each piece gets its own turn, in which the other end, in this process as well, reads it. */
export async function writePieces(socket: Socket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    if (!socket.write(piece)) await once(socket, 'drain');
    if (pieces.length > 1) await nextTurn();
  }
}
