/** The same local port for a target each time, so that saved connections of tools go on working. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClientConfig } from './config.ts';
import { withFileLock } from './file-lock.ts';
import { isAddressInUse } from './local-listener.ts';
import type { LocalPort } from './local-port.ts';
import { writePrivateFile } from './private-file.ts';

/** Below the ranges from which systems take ports for outgoing connections, so that these rarely get in the way. */
const portMin = 20_000;
const portCount = 10_000;
/** Ports that are tried for a target that has none yet, before any free one is taken. */
const candidatesMax = 20;
/** Targets that are remembered; the one that was used longest ago is forgotten first. */
const targetsMax = 500;

/** Relay URL and target to port, the one that was used last at the end. */
type Ports = ReadonlyMap<string, number>;

export type StickyOptions = {
  readonly config: ClientConfig;
  readonly relay: string;
  readonly target: string;
  /** Listens on the port, 0 for any; fails with the system's EADDRINUSE as cause where it is taken. */
  readonly start: (port: number) => Promise<LocalPort>;
  /** Takes a line for the user. */
  readonly note: (line: string) => void;
};

/**
 * Starts on the port that the target had last time. Where that is taken, on any free one, with a note; the old one
 * stays remembered. A target without a port gets the first free one of a row that depends on its name alone.
 */
export async function startOnStickyPort(options: StickyOptions): Promise<LocalPort> {
  const { config, relay, target, start, note } = options;
  const key = keyOf(relay, target);
  const ports = await loadPorts(config);
  const last = ports.get(key);
  if (last !== undefined) {
    const port = await startUnlessTaken(start, last);
    if (port !== undefined) return port;
    const other = await start(0);
    note(`port ${last}, which ${target} had last time, is in use; this time it is ${other.port}`);
    return other;
  }
  const taken = new Set(ports.values());
  for (const candidate of candidatesFor(key)) {
    const port = taken.has(candidate) ? undefined : await startUnlessTaken(start, candidate);
    if (port === undefined) continue;
    await rememberPort(options, port.port);
    return port;
  }
  const port = await start(0);
  await rememberPort(options, port.port);
  return port;
}

/** Durable when the promise resolves. Where it cannot be written, that is a note and no failure. */
export async function rememberPort(options: Omit<StickyOptions, 'start'>, port: number): Promise<void> {
  const { config, relay, target, note } = options;
  try {
    await withFileLock(`${pathIn(config)}.lock`, async () => {
      const ports = new Map(await loadPorts(config));
      ports.delete(keyOf(relay, target));
      ports.set(keyOf(relay, target), port);
      const kept = [...ports].slice(-targetsMax);
      await writePrivateFile(pathIn(config), `${JSON.stringify(Object.fromEntries(kept), undefined, 2)}\n`);
    });
  } catch (error) {
    note(`the port of ${target} cannot be remembered: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function startUnlessTaken(start: StickyOptions['start'], port: number): Promise<LocalPort | undefined> {
  try {
    return await start(port);
  } catch (error) {
    if (isAddressInUse(error)) return undefined;
    throw error;
  }
}

/** What cannot be read is forgotten: nothing depends on it but convenience. */
async function loadPorts(config: ClientConfig): Promise<Ports> {
  try {
    const value: unknown = JSON.parse(await readFile(pathIn(config), 'utf8'));
    if (typeof value !== 'object' || value === null) return new Map();
    return new Map(Object.entries(value).filter((entry): entry is [string, number] => isPort(entry[1])));
  } catch {
    return new Map();
  }
}

function isPort(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65535;
}

function candidatesFor(key: string): number[] {
  const start = createHash('sha256').update(key).digest().readUInt32BE(0) % portCount;
  return Array.from({ length: candidatesMax }, (_, index) => portMin + ((start + index) % portCount));
}

/** A URL holds no blank, so no two pairs share a key. */
function keyOf(relay: string, target: string): string {
  return `${relay} ${target}`;
}

function pathIn(config: ClientConfig): string {
  return join(config.directory, 'ports.json');
}
