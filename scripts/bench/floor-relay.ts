/** The floor's far half: each WebSocket to a connection of its own with the database, raw bytes, nothing looked at. */
import { connect } from 'node:net';
import { WebSocketServer } from 'ws';
import { pump } from './floor-pump.ts';

const databasePort = Number(process.argv[2]);
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', backlog: 511, perMessageDeflate: false, skipUTF8Validation: true, clientTracking: false });
server.on('connection', (tunnel) => {
  const socket = connect({ port: databasePort, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => socket.destroy());
  tunnel.on('error', () => socket.destroy());
  pump(socket, tunnel);
});
server.on('listening', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.stdout.write(`${JSON.stringify({ port: address.port })}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
