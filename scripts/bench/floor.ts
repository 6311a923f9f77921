/** Starts the floor: what a tunnel of two processes costs that inspects nothing. */
import { join } from 'node:path';
import { build } from 'tsup';
import type { Cleanup } from './cleanup.ts';
import { readLines, startChild } from './processes.ts';
import type { Way } from './way.ts';

const portOf = (line: string): number => (JSON.parse(line) as { port: number }).port;

/** As one file of plain JavaScript for each half, as gate is: a compiler in the same process would take memory of its own. */
export async function buildFloor(directory: string): Promise<void> {
  const entry = Object.fromEntries(['floor-local', 'floor-relay'].map((name) => [name, join(import.meta.dirname, `${name}.ts`)]));
  await build({ entry, outDir: directory, format: ['cjs'], target: 'node20', platform: 'node', noExternal: ['ws'], config: false, silent: true, clean: false });
}

/** `directory`: where it was built. */
export async function startFloor(cleanup: Cleanup, direct: Way, directory: string): Promise<Way> {
  const start = async (name: string, argument: string) => {
    const child = startChild([process.execPath, join(directory, `${name}.cjs`), argument], { cleanup });
    const [port] = await readLines(child, 1, portOf);
    return { pid: child.pid ?? 0, port: port ?? 0 };
  };
  const relay = await start('floor-relay', String(direct.port));
  const local = await start('floor-local', `ws://127.0.0.1:${relay.port}/`);
  return { ...direct, name: 'floor', port: local.port, pids: { local: local.pid, relay: relay.pid } };
}
