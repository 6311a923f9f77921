/** What figures depend on: the machine, its load, and the versions of everything that took part. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Stage } from './stage.ts';

export type Machine = {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGigabytes: number;
  readonly kernel: string;
  /** Of the directory in which the record lies: on a tmpfs fdatasync costs nothing. */
  readonly fileSystem: string;
  readonly loadAtStart: readonly number[];
  readonly versions: Readonly<Record<string, string>>;
};

/** `load`: as it was before anything was started. */
export async function describeMachine(stage: Stage, load: readonly number[]): Promise<Machine> {
  const { rows } = await stage.database.admin.query<{ server_version: string }>('show server_version');
  const own = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')) as { version: string };
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGigabytes: Math.round(totalmem() / 2 ** 30),
    kernel: release().split('.', 2).join('.'),
    fileSystem: said('stat', ['-f', '-c', '%T', stage.relay.directory]),
    loadAtStart: load.map((one) => Math.round(one * 100) / 100),
    versions: {
      node: process.versions.node,
      PostgreSQL: rows[0]?.server_version ?? 'unknown',
      gate: `${own.version} ${said('git', ['rev-parse', '--short', 'HEAD'])}`.trim(),
      pgbench: /\d+(?:\.\d+)+/.exec(said('pgbench', ['--version']))?.[0] ?? 'not installed',
      PgBouncer: stage.pgbouncer ?? 'not installed',
    },
  };
}

export function currentLoad(): readonly number[] {
  return loadavg();
}

function said(file: string, words: readonly string[]): string {
  try {
    return execFileSync(file, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], cwd: import.meta.dirname }).trim();
  } catch {
    return '';
  }
}
