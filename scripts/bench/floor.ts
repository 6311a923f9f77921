/** Starts the floor: what a tunnel of two processes costs that inspects nothing. */
import { join } from 'node:path';
import type { Cleanup } from './cleanup.ts';
import { readLines, startChild } from './processes.ts';
import type { Way } from './way.ts';

const portOf = (line: string): number => (JSON.parse(line) as { port: number }).port;

export async function startFloor(cleanup: Cleanup, direct: Way): Promise<Way> {
  const start = async (file: string, argument: string) => {
    const child = startChild([process.execPath, '--import', 'tsx', join(import.meta.dirname, file), argument], { cleanup });
    const [port] = await readLines(child, 1, portOf);
    return { pid: child.pid ?? 0, port: port ?? 0 };
  };
  const relay = await start('floor-relay.ts', String(direct.port));
  const local = await start('floor-local.ts', `ws://127.0.0.1:${relay.port}/`);
  return { ...direct, name: 'floor', port: local.port, pids: { local: local.pid, relay: relay.pid } };
}
