/** PgBouncer with session pooling in front of the same server, where it is installed. */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFreePort } from '../../src/dev/ports.ts';
import { unprivilegedIdentity } from '../../src/dev/reach.ts';
import type { Cleanup } from './cleanup.ts';
import { run, startChild } from './processes.ts';
import type { Way } from './way.ts';

const startMs = 10_000;

/** Undefined where it is not installed. */
export async function pgbouncerVersion(cleanup: Cleanup): Promise<string | undefined> {
  const { code, out } = await run(['pgbouncer', '--version'], { cleanup }).catch(() => ({ code: 1, out: '' }));
  return code === 0 ? (/\d+(?:\.\d+)+/.exec(out)?.[0] ?? 'unknown') : undefined;
}

export async function startPgbouncer(cleanup: Cleanup, direct: Way, directory: string): Promise<Way> {
  const port = await findFreePort();
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const users = join(directory, 'userlist.txt');
  const config = join(directory, 'pgbouncer.ini');
  writeFileSync(users, `"${direct.user}" "${direct.password}"\n`, { mode: 0o600 });
  const lines = [
    '[databases]',
    `${direct.database} = host=${direct.host} port=${direct.port} dbname=${direct.database} user=${direct.user} password=${direct.password}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = trust',
    `auth_file = ${users}`,
    'pool_mode = session',
    'default_pool_size = 100',
    'max_client_conn = 1000',
    'ignore_startup_parameters = extra_float_digits',
    'log_connections = 0',
    'log_disconnections = 0',
    'server_reset_query = DISCARD ALL',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 });
  const identity = unprivilegedIdentity();
  const asUser: string[] = [];
  if (identity !== undefined) {
    // It refuses to run as root, and reads its files after it has changed to the other user.
    for (const path of [users, config, directory]) chownSync(path, identity.uid, identity.gid);
    chmodSync(join(directory, '..'), 0o711);
    asUser.push('-u', 'nobody');
  }
  const child = startChild(['pgbouncer', '-q', ...asUser, config], { cleanup, logFile: join(directory, '..', 'pgbouncer.log') });
  const giveUp = performance.now() + startMs;
  while (!(await answers(port))) {
    if (performance.now() > giveUp || child.exitCode !== null) throw new Error('PgBouncer did not start; its log says why');
    await sleep(50);
  }
  return { ...direct, name: 'PgBouncer', port, pids: { relay: child.pid ?? 0 } };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}
