/** Loopback TCP ports: finding a free one, and asking whether one is free. */
import { createServer } from 'node:net';

/** A port that was free a moment ago; `preferred` if that one was. The caller must cope with losing the race for it. */
export async function findFreePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await isPortFree(preferred))) return preferred;
  return (await tryListen(0)) ?? Promise.reject(new Error('no TCP port is free on 127.0.0.1'));
}

export async function isPortFree(port: number): Promise<boolean> {
  return (await tryListen(port)) !== undefined;
}

function tryListen(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined));
    });
  });
}
