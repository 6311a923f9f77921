/** gate config list and the project file: which setting is in force, and where it comes from. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runConfigList } from '../../src/cli/commands/config.ts';
import { loadClientConfig } from '../../src/client/config.ts';
import { createCredentialStore } from '../../src/client/credentials.ts';
import { createRelayClient } from '../../src/client/relay-client.ts';
import { sendJson, startHttp } from '../client/fixtures.ts';
import { gateProcess, openTerminal } from './doctor-stage.ts';

let scratch: string;
let home: string;
let project: string;
let inside: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gate-config-'));
  [home, project] = [join(scratch, 'home'), join(scratch, 'project')];
  inside = join(project, 'src', 'deep');
  await mkdir(inside, { recursive: true });
  await mkdir(home);
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

const writeProject = (text: string) => writeFile(join(project, '.gate.yaml'), text);
const writeUser = (text: string) => writeFile(join(home, 'config.yaml'), text);

async function relayIn(environment: NodeJS.ProcessEnv = {}, flags: { relay?: string } = {}): Promise<unknown> {
  const { relay, settings } = await loadClientConfig(flags, { GATE_CONFIG_DIR: home, ...environment }, inside);
  const { value, origin, source } = settings?.find(({ name }) => name === 'relay') ?? {};
  expect(value).toBe(relay);
  return [value, origin, source];
}

describe('the relay', () => {
  test('each source outdoes those after it', async () => {
    expect(await relayIn()).toEqual([undefined, 'default', undefined]);
    await writeUser('relay: https://user.example.com\n');
    expect(await relayIn()).toEqual(['https://user.example.com', 'user-file', join(home, 'config.yaml')]);
    await writeProject('relay: https://project.example.com/\n');
    expect(await relayIn()).toEqual(['https://project.example.com', 'project-file', join(project, '.gate.yaml')]);
    const environment = { GATE_RELAY: 'https://env.example.com' };
    expect(await relayIn(environment)).toEqual(['https://env.example.com', 'environment', 'GATE_RELAY']);
    expect(await relayIn(environment, { relay: 'https://flag.example.com' })).toEqual(['https://flag.example.com', 'flag', '--relay']);
  });

  test('the nearest project file counts', async () => {
    await writeProject('relay: https://outer.example.com\n');
    await writeFile(join(inside, '.gate.yaml'), 'relay: https://inner.example.com\n');
    expect(await relayIn()).toEqual(['https://inner.example.com', 'project-file', join(inside, '.gate.yaml')]);
  });

  test.each([
    ['keychain: off\n', 'config-invalid', 'unknown key "keychain"'],
    ['relay: http://gate.example.com\n', 'usage', 'plain http'],
    ['relay: https://me:canary@gate.example.com\n', 'usage', 'user name or a password'],
  ])('a project file of %j is refused', async (text, code, message) => {
    await writeProject(text);
    await expect(relayIn()).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    await expect(relayIn()).rejects.not.toThrow(/canary/);
  });
});

describe('a project file cannot send a token to another relay', () => {
  test('a stored login stays with the relay that it is for', async () => {
    await using stranger = await startHttp((_, response) => sendJson(response, 200, {}));
    await writeUser('relay: https://mine.example.com\n');
    const login = { issuer: 'https://issuer.example.com', clientId: 'gate-cli', subject: 'x', accessToken: 'canary' };
    const store = createCredentialStore({ directory: home, isKeychainWanted: false }, { warn: () => undefined });
    await store.edit((editor) => editor.save('https://mine.example.com', login, 'file'));
    await writeProject(`relay: ${stranger.url}\n`);
    const config = await loadClientConfig({}, { GATE_CONFIG_DIR: home, GATE_KEYCHAIN: 'off' }, inside);
    expect(config.relay).toBe(stranger.url);
    const client = createRelayClient(config, { warn: () => undefined });
    await expect(client.whoAmI()).rejects.toMatchObject({ code: 'login-required' });
    expect(stranger.requests).toEqual([]);
  });

  test('GATE_TOKEN, which is for no relay in particular, needs one that its owner named', async () => {
    const environment = { GATE_TOKEN: 'canary' };
    await writeProject('relay: https://project.example.com\n');
    await expect(relayIn(environment)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining(join(project, '.gate.yaml')),
      hint: expect.stringContaining('GATE_RELAY=https://project.example.com'),
    });
    await writeUser('relay: https://other.example.com\n');
    await expect(relayIn(environment)).rejects.toMatchObject({ code: 'usage' });
    await writeUser('relay: https://project.example.com/\n');
    expect(await relayIn(environment)).toEqual(['https://project.example.com', 'project-file', join(project, '.gate.yaml')]);
    expect(await relayIn({ ...environment, GATE_RELAY: 'https://env.example.com' })).toContain('environment');
  });
});

describe('gate config list', () => {
  async function list(json: boolean, isOriginWanted: boolean): Promise<string> {
    await writeProject('relay: https://project.example.com\n');
    await writeUser('relay: https://project.example.com\nkeychain: off\n');
    const { context, output } = openTerminal({ GATE_CONFIG_DIR: home, GATE_TOKEN: 'canary', GATE_KEYCHAIN: '' }, json, inside);
    await runConfigList(context, isOriginWanted);
    return output();
  }

  test('for people, with and without origins', async () => {
    expect((await list(false, false)).split('\n').map((line) => line.trimEnd())).toEqual([
      'SETTING    VALUE',
      expect.stringMatching(/^directory {2}\S+home$/),
      'relay      https://project.example.com',
      'token      set',
      'platform   -',
      'keychain   off',
      '',
    ]);
    const text = await list(false, true);
    expect(text).toMatch(/directory .* GATE_CONFIG_DIR\n/);
    expect(text).toContain(`project file ${join(project, '.gate.yaml')}\n`);
    expect(text).toMatch(/token {6}set .* GATE_TOKEN\n/);
    expect(text).toContain(`your file ${join(home, 'config.yaml')}\n`);
    expect(text).not.toContain('canary');
  });

  test('under --json', async () => {
    expect(JSON.parse(await list(true, false))).toEqual({
      settings: [
        { name: 'directory', value: home, origin: 'environment', source: 'GATE_CONFIG_DIR' },
        { name: 'relay', value: 'https://project.example.com', origin: 'project-file', source: join(project, '.gate.yaml') },
        { name: 'token', value: 'set', origin: 'environment', source: 'GATE_TOKEN' },
        { name: 'platform', value: null, origin: 'default', source: null },
        { name: 'keychain', value: 'off', origin: 'user-file', source: join(home, 'config.yaml') },
      ],
    });
  });

  test('the source of a token is named, and nothing of it shown', async () => {
    const environment = { GATE_CONFIG_DIR: home, GITHUB_ACTIONS: 'true', ACTIONS_ID_TOKEN_REQUEST_URL: 'https://canary-url.example.com', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'canary' };
    for (const json of [false, true]) {
      const { context, output } = openTerminal(environment, json, home);
      await runConfigList(context, true);
      expect(output()).toMatch(/platform.*github-actions.*ACTIONS_ID_TOKEN_REQUEST_URL/s);
      expect(output()).not.toContain('canary');
    }
  });

  test('the program looks upwards from where it is started', async () => {
    await writeProject('relay: https://project.example.com\n');
    const { code, stdout } = await gateProcess(['config', 'list', '--show-origin'], { GATE_CONFIG_DIR: home }, inside);
    expect(code).toBe(0);
    expect(stdout).toMatch(/relay {6}https:\/\/project\.example\.com +project file \S+\.gate\.yaml\n/);
    expect(stdout).toMatch(/token {6}- .* default\n/);
  });
});
