/** The floor's near half: each TCP connection through a WebSocket of its own, raw bytes, nothing looked at. */
import { createServer } from 'node:net';
import { WebSocket } from 'ws';
import { pump } from './floor-pump.ts';

const relay = process.argv[2] ?? '';
const server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
  const tunnel = new WebSocket(relay, { perMessageDeflate: false, skipUTF8Validation: true });
  socket.on('error', () => socket.destroy());
  socket.once('close', () => tunnel.close());
  tunnel.on('error', () => socket.destroy());
  tunnel.once('open', () => pump(socket, tunnel));
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 511 }, () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.stdout.write(`${JSON.stringify({ port: address.port })}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
