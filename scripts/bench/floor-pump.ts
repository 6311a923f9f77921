/** Bytes between a socket and a WebSocket, with backpressure in both directions: the least that a tunnel must do. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

const unsentBytesMax = 1024 * 1024;

export function pump(socket: Socket, tunnel: WebSocket): void {
  socket.on('data', (bytes: Buffer) => {
    tunnel.send(bytes, { binary: true }, () => {
      if (socket.isPaused() && tunnel.bufferedAmount < unsentBytesMax / 2) socket.resume();
    });
    if (tunnel.bufferedAmount > unsentBytesMax) socket.pause();
  });
  tunnel.on('message', (bytes: Buffer) => {
    if (!socket.write(bytes)) tunnel.pause();
  });
  socket.on('drain', () => tunnel.resume());
  socket.once('close', () => tunnel.close());
  tunnel.once('close', () => socket.destroySoon());
  socket.resume();
}
