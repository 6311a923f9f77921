/** What gate login, whoami and logout print, for people and under --json. */
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadClientConfig } from '../../src/client/config.ts';
import { createRelayClient } from '../../src/client/relay-client.ts';
import { runLogin } from '../../src/cli/commands/login.ts';
import { runLogout } from '../../src/cli/commands/logout.ts';
import { runWhoami } from '../../src/cli/commands/whoami.ts';
import type { Context } from '../../src/cli/context.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import { DEMO_ACCOUNTS } from '../../src/dev/accounts.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';
import { makeScratch, sendJson, startHttp } from './fixtures.ts';

let provider: Provider;
let relay: Awaited<ReturnType<typeof startHttp>>;
beforeAll(async () => {
  provider = await startProvider({ accounts: DEMO_ACCOUNTS, audience: 'gate-relay', clientId: 'gate-cli' });
  const info = { service: 'gate', version: '1', issuer: provider.issuer, clientId: 'gate-cli', scopes: ['openid'] };
  const who = {
    issuer: provider.issuer,
    subject: 'acct-1',
    name: 'Erin \u001b[2JCastillo',
    kind: 'human',
    groups: ['engineering', 'on-call'],
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
  };
  relay = await startHttp((request, response) =>
    sendJson(response, 200, request.url === '/.well-known/gate' ? info : who),
  );
});
afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  await provider.stop();
});

type Channel = { readonly stream: PassThrough; text: string };
type Terminal = { readonly context: Context; readonly out: Channel; readonly err: Channel };

function openChannel(): Channel {
  const channel = { stream: new PassThrough(), text: '' };
  channel.stream.on('data', (chunk: Buffer) => (channel.text += chunk.toString()));
  return channel;
}

/** A PassThrough is what a piped stdin, stdout and stderr are to the commands. */
function areStreams(value: unknown): value is IoStreams {
  return typeof value === 'object';
}

function openTerminal(directory: string, json: boolean, more: NodeJS.ProcessEnv = {}): Terminal {
  const [out, err] = [openChannel(), openChannel()];
  const streams: unknown = { stdin: new PassThrough(), stdout: out.stream, stderr: err.stream };
  if (!areStreams(streams)) throw new Error('no streams');
  const io = createIo(streams, { json });
  const environment = { GATE_CONFIG_DIR: directory, GATE_KEYCHAIN: 'off', ...more };
  const config = loadClientConfig({}, environment);
  const context: Context = {
    io,
    config: () => config,
    relay: async () => createRelayClient(await config, { warn: (line) => io.warn(line) }),
    stopSignal: () => new AbortController().signal,
  };
  return { context, out, err };
}

/** Resolves with the first match of a pattern in what a stream has carried so far. */
function seen(channel: Channel, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve) => {
    const look = (): void => {
      const match = pattern.exec(channel.text);
      if (match === null) return;
      channel.stream.off('data', look);
      resolve(match);
    };
    channel.stream.on('data', look);
    look();
  });
}

const approve = (verificationUri = '', userCode = ''): Promise<void> =>
  approveDevice({ verificationUri, userCode, account: 'engineer', decision: 'approve' });

async function logIn(directory: string): Promise<void> {
  const terminal = openTerminal(directory, true, { GATE_RELAY: relay.url });
  const running = runLogin(terminal.context);
  const [line] = await seen(terminal.out, /^.*\n/);
  const { verificationUri, userCode }: Record<string, string> = JSON.parse(line);
  await approve(verificationUri, userCode);
  await running;
}

describe('for people', () => {
  test('login shows address, code and a warning on stderr, and then who one is', async () => {
    await using scratch = await makeScratch();
    const terminal = openTerminal(scratch.directory, false, { GATE_RELAY: relay.url });
    const running = runLogin(terminal.context);
    const [, uri, code] = await seen(terminal.err, /\n {4}(http\S+)\n[^]*\n {4}(\S+)\n[^]*Waiting/);
    expect(terminal.err.text).toContain('Go on only if you started this login yourself');
    expect(terminal.err.text).toContain(provider.issuer);
    await approve(uri, code);
    await running;
    expect(terminal.err.text).toContain('Logged in as Erin \u{FFFD}[2JCastillo (acct-1), in engineering, on-call.');
    expect(terminal.err.text).toContain('in a file that only you can read');
    expect(terminal.out.text).toBe('');
  });

  test('whoami and logout', async () => {
    await using scratch = await makeScratch();
    await logIn(scratch.directory);
    const whoami = openTerminal(scratch.directory, false);
    await runWhoami(whoami.context);
    expect(whoami.out.text).toMatch(/^name {5}Erin .*\nsubject {2}acct-1\n/);
    expect(whoami.out.text).toContain(`groups   engineering, on-call\nrelay    ${relay.url}\nissuer   ${provider.issuer}\n`);
    expect(whoami.out.text).toMatch(/kept in {2}.*credentials\.json\n$/);
    expect(whoami.err.text).toBe('');
    for (const words of ['Logged out of', 'You were not logged in to']) {
      const logout = openTerminal(scratch.directory, false);
      await runLogout(logout.context);
      expect([logout.out.text, logout.err.text]).toEqual(['', `${words} ${relay.url}.\n`]);
    }
  });

  test('logout on a machine that has never logged in', async () => {
    await using scratch = await makeScratch();
    const terminal = openTerminal(scratch.directory, false);
    await runLogout(terminal.context);
    expect(terminal.err.text).toBe('You were not logged in.\n');
  });
});

describe('under --json', () => {
  test('login is two events, and nothing is on stderr', async () => {
    await using scratch = await makeScratch();
    const terminal = openTerminal(scratch.directory, true, { GATE_RELAY: relay.url });
    const running = runLogin(terminal.context);
    const [line] = await seen(terminal.out, /^.*\n/);
    const prompt: Record<string, string> = JSON.parse(line);
    expect(Object.keys(prompt)).toEqual([
      'event',
      'relay',
      'issuer',
      'verificationUri',
      'verificationUriComplete',
      'userCode',
      'expiresAt',
    ]);
    expect(prompt['event']).toBe('prompt');
    await approve(prompt['verificationUri'], prompt['userCode']);
    await running;
    expect(JSON.parse(terminal.out.text.split('\n')[1] ?? '')).toMatchObject({
      event: 'login',
      relay: relay.url,
      issuer: provider.issuer,
      subject: 'acct-1',
      groups: ['engineering', 'on-call'],
      isRenewable: true,
      storage: 'file',
    });
    expect(terminal.err.text).toBe('');
  });

  test('whoami and logout', async () => {
    await using scratch = await makeScratch();
    await logIn(scratch.directory);
    const whoami = openTerminal(scratch.directory, true);
    await runWhoami(whoami.context);
    expect(JSON.parse(whoami.out.text)).toMatchObject({
      subject: 'acct-1',
      kind: 'human',
      relay: relay.url,
      issuer: provider.issuer,
      storage: 'file',
      path: expect.stringContaining('credentials.json'),
    });
    const logout = openTerminal(scratch.directory, true);
    await runLogout(logout.context);
    expect(JSON.parse(logout.out.text)).toEqual({
      event: 'logout',
      relay: relay.url,
      wasLoggedIn: true,
      isRevoked: true,
    });
  });

  test('whoami says when GATE_TOKEN is what counts', async () => {
    await using scratch = await makeScratch();
    const terminal = openTerminal(scratch.directory, true, { GATE_RELAY: relay.url, GATE_TOKEN: 'abc' });
    await runWhoami(terminal.context);
    expect(JSON.parse(terminal.out.text)).toMatchObject({ subject: 'acct-1', storage: 'environment' });
    expect(terminal.out.text).not.toContain('abc');
  });
});
