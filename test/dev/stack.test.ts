/** The stack's parts and files, with a stand-in for the relay's process; what the relay itself does is tested there. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { findFreePort } from '../../src/dev/ports.ts';
import { parseTarget } from '../../src/dev/stack-files.ts';
import { startStack, type Stack } from '../../src/dev/stack.ts';
import { Supervisor, type ChildExit } from '../../src/dev/supervisor.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';

const STAND_IN = fileURLToPath(new URL('stand-in-relay.ts', import.meta.url));
const PROGRAM: [string, ...string[]] = [process.execPath, '--import', 'tsx', STAND_IN];
const WAIT = { timeout: 30_000, interval: 50 };

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gate-test-'));
  await chmod(scratch, 0o755);
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function writeConfig(): Promise<string> {
  const file = join(scratch, 'stand-in.yaml');
  await writeFile(file, `listen: 127.0.0.1:${await findFreePort()}\n`);
  return file;
}

async function keysOf({ issuer }: Stack): Promise<string> {
  return (await fetch(`${issuer}/jwks`)).text();
}

describe('the supervisor', () => {
  test('starts a child that was killed again, on the same port, and tells', async () => {
    const exits: ChildExit[] = [];
    const supervisor = await Supervisor.start({
      command: [...PROGRAM, 'relay', '--config', await writeConfig()],
      logFile: join(scratch, 'supervised.log'),
      onExit: (exit) => exits.push(exit),
    });
    try {
      const first = await supervisor.ready();
      process.kill(supervisor.pid, 'SIGKILL');
      await vi.waitFor(() => expect(exits).toEqual([{ code: null, signal: 'SIGKILL', willRestart: true }]), WAIT);
      const second = await supervisor.ready();
      expect(second.port).toBe(first.port);
      expect(await (await fetch(second.url)).text()).toBe(String(second.pid));
      const third = await supervisor.restart();
      expect(third.pid).not.toBe(second.pid);
      expect(isAlive(second.pid)).toBe(false);
      expect(exits).toHaveLength(1);
    } finally {
      await supervisor.stop();
    }
    expect(isAlive(supervisor.pid)).toBe(false);
  }, 60_000);

  test('leaves a child alone that dies again and again', async () => {
    const exits: ChildExit[] = [];
    const supervisor = await Supervisor.start({
      command: [...PROGRAM, 'relay', '--config', await writeConfig()],
      logFile: join(scratch, 'supervised.log'),
      restartsMax: 1,
      onExit: (exit) => exits.push(exit),
    });
    for (const expected of [true, false]) {
      const seen = exits.length;
      const { pid } = await supervisor.ready();
      process.kill(pid, 'SIGKILL');
      await vi.waitFor(() => expect(exits[seen]?.willRestart).toBe(expected), WAIT);
    }
    await expect(supervisor.ready()).rejects.toMatchObject({ code: 'relay-unreachable' });
    await supervisor.stop();
  }, 60_000);

  test('a child that never serves is reported with the end of its log', async () => {
    const logFile = join(scratch, 'broken.log');
    const start = Supervisor.start({ command: [...PROGRAM, 'broken'], logFile });
    await expect(start).rejects.toThrow(/exit code 2.*the configuration is wrong/);
    const nothing = Supervisor.start({ command: ['/nonexistent/program'], logFile });
    await expect(nothing).rejects.toMatchObject({ code: 'relay-unreachable' });
  }, 60_000);

  test('a child that says why it cannot serve is believed, and not what another has said before it', async () => {
    const logFile = join(scratch, 'explained.log');
    const start = Supervisor.start({ command: [...PROGRAM, 'misconfigured'], logFile });
    const hint = 'Write a list.';
    await expect(start).rejects.toMatchObject({ code: 'config-invalid', message: 'policy.yaml:5:9: allow: missing', hint });
    const silent = Supervisor.start({ command: [process.execPath, '-e', 'process.exit(3)'], logFile });
    await expect(silent).rejects.toMatchObject({ code: 'relay-unreachable', message: expect.not.stringContaining('allow') });
  }, 60_000);

  test('stopped while it waits to start again, it stays stopped', async () => {
    let exits = 0;
    const supervisor = await Supervisor.start({
      command: [...PROGRAM, 'relay', '--config', await writeConfig()],
      logFile: join(scratch, 'supervised.log'),
      onExit: () => (exits += 1),
    });
    process.kill(supervisor.pid, 'SIGKILL');
    await vi.waitFor(() => expect(exits).toBe(1), WAIT);
    await supervisor.stop();
    await expect(supervisor.ready()).rejects.toMatchObject({ code: 'relay-stopping' });
    expect(isAlive(supervisor.pid)).toBe(false);
  }, 60_000);
});

describe('the stack', () => {
  test('writes a configuration that the relay takes, keeps secrets out of it, and leaves nothing', async () => {
    const dsn = 'postgres://me:s3cret%20word@db.example.com:6432/sales';
    const stack = await startStack({ program: PROGRAM, targets: [{ name: 'sales', dsn }] });
    try {
      expect(stack.targets).toEqual(['prod-db', 'sales']);
      const file = join(stack.stateDirectory, 'relay.yaml');
      const config = await loadRelayConfig(file);
      expect(config.listen.port).toBe(Number(new URL(stack.relayUrl).port));
      expect(config.warnings).toEqual([]);
      expect(config.issuer.url).toBe(stack.issuer);
      const sales = { host: 'db.example.com', port: 6432, password: 's3cret word', tls: 'verify-full' };
      expect(config.targets.get('sales')).toMatchObject(sales);
      expect(config.targets.get('prod-db')).toMatchObject({ port: stack.postgres.port, tls: 'disable' });
      expect([...config.policy.targets.keys()]).toEqual(['prod-db', 'sales']);
      const text = await readFile(file, 'utf8');
      expect(text).not.toContain('s3cret');
      expect(text).not.toContain(config.targets.get('prod-db')?.password);
      for (const name of await readdir(join(stack.stateDirectory, 'secrets'))) {
        expect((await stat(join(stack.stateDirectory, 'secrets', name))).mode & 0o777).toBe(0o600);
      }
      expect((await stat(stack.stateDirectory)).mode & 0o077).toBe(0);
    } finally {
      await stack.stop();
    }
    expect(isAlive(stack.relayPid())).toBe(false);
    expect(isAlive(stack.postgres.pid)).toBe(false);
    expect(existsSync(stack.stateDirectory)).toBe(false);
    await expect(fetch(stack.issuer)).rejects.toThrow();
  }, 120_000);

  test('with a state directory: same ports, keys and database in the next run, an edited policy is kept', async () => {
    const stateDirectory = join(scratch, 'state');
    const first = await startStack({ program: PROGRAM, stateDirectory });
    const keys = await keysOf(first);
    await first.stop();
    const policyFile = join(stateDirectory, 'policy.yaml');
    const edited = (await readFile(policyFile, 'utf8')).replace('maxDuration: 8h', 'maxDuration: 4h');
    await writeFile(policyFile, edited);
    const second = await startStack({ program: PROGRAM, stateDirectory });
    try {
      expect(second.relayUrl).toBe(first.relayUrl);
      expect(second.issuer).toBe(first.issuer);
      expect(second.postgres.port).toBe(first.postgres.port);
      expect(second.postgres.password).toBe(first.postgres.password);
      expect(await keysOf(second)).toBe(keys);
      expect(await readFile(policyFile, 'utf8')).toBe(edited);
    } finally {
      await second.stop();
    }
  }, 120_000);

  test('a part that fails takes the others along', async () => {
    const empty = join(scratch, 'tmp');
    await mkdir(empty, { mode: 0o755 });
    vi.stubEnv('TMPDIR', empty);
    try {
      const start = startStack({ program: [...PROGRAM, 'broken'] });
      await expect(start).rejects.toMatchObject({ code: 'relay-unreachable' });
      // The loader that runs the stand-in keeps a cache there.
      expect((await readdir(empty)).filter((name) => name.startsWith('gate-'))).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
    }
  }, 120_000);

  test('a state directory that cannot be one is named, before anything starts', async () => {
    const stateDirectory = join(scratch, 'a-file');
    await writeFile(stateDirectory, '');
    const start = startStack({ program: PROGRAM, stateDirectory });
    await expect(start).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining(stateDirectory) });
  });

  test('refuses a busy port and two targets of one name before it starts anything', async () => {
    const target = { name: 'prod-db', dsn: 'postgres://me@localhost/my' };
    await expect(startStack({ program: PROGRAM, targets: [target] })).rejects.toThrow(/two targets named prod-db/);
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    const address = blocker.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await expect(startStack({ program: PROGRAM, port })).rejects.toThrow(`Port ${port} is in use`);
    blocker.close();
  });
});

describe('--target', () => {
  test.each([
    ['postgres://me@localhost/my', 'disable'],
    ['postgres://me@127.0.0.1/my?sslmode=require', 'verify-full'],
    ['postgres://me@db.example.com/my', 'verify-full'],
    ['postgresql://me@db.example.com/my?sslmode=disable', 'disable'],
    ['postgres://me@[::1]:5433/my', 'disable'],
  ])('%s: tls %s', (dsn, tls) => {
    expect(parseTarget({ name: 'mine', dsn }).tls).toBe(tls);
  });

  test.each([
    ['postgres://me@localhost/my', 'beside'],
    ['postgres://me:inside@localhost/my', 'inside'],
  ])('%s: the password beside it serves where it has none', (dsn, password) => {
    expect(parseTarget({ name: 'mine', dsn, password: 'beside' }).password).toBe(password);
  });

  test.each([
    ['Bad Name', 'postgres://me@localhost/my'],
    ['../up', 'postgres://me@localhost/my'],
    ['mine', 'mysql://me:hidden@localhost/my'],
    ['mine', 'me:hidden'],
    ['mine', 'postgres://:hidden@localhost/my'],
  ])('%s=%s is refused without repeating it', (name, dsn) => {
    expect(() => parseTarget({ name, dsn })).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(() => parseTarget({ name, dsn })).not.toThrow(/hidden/);
  });
});
