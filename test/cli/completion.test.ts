/** Completion: what is offered where, what is remembered, and the scripts in the shells that are installed. */
import { execFile, spawnSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { extraCommands } from '../../bin/program.ts';
import { complete, splitLine } from '../../src/cli/completion.ts';
import { isNamed } from '../../src/cli/command-table.ts';
import { completionScripts, shells } from '../../src/cli/completion-scripts.ts';
import { createContext } from '../../src/cli/context.ts';
import { createIo } from '../../src/cli/io.ts';
import { createProgram } from '../../src/cli/main.ts';
import { createRelayClient } from '../../src/client/relay-client.ts';
import { loadNameCache, rememberNames, type NameCache } from '../../src/client/name-cache.ts';
import { configOf, sendJson, startHttp } from '../client/fixtures.ts';
import { gateProcess } from './doctor-stage.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const one = 'https://one.example.com';
const cache: NameCache = {
  latest: one,
  relays: {
    [one]: { targets: { 'prod-db': ['engineer', 'reader'], 'prod-eu': [] }, sessions: ['ses-1', 'ses-2'] },
    'https://two.example.com': { targets: { staging: ['dba'] }, sessions: [] },
  },
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gate-completion-'));
  await writeFile(join(directory, 'names.json'), JSON.stringify(cache));
  const program = join(directory, 'gate');
  const tsx = new URL(import.meta.resolve('tsx')).href;
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' --import '${tsx}' '${join(root, 'bin/gate.ts')}' "$@"\n`);
  await chmod(program, 0o755);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function offered(line: string, more: { relay?: string; cache?: NameCache } = {}): Promise<string[] | 'files'> {
  const context = createContext(createIo(process, { json: false }), { json: false }, () => new AbortController().signal);
  const program = await createProgram(context, extraCommands, (entry) => isNamed(entry, ['completion', line]));
  const completion = complete(program, splitLine(`gate ${line}`).slice(1), { cache: more.cache ?? cache, relay: more.relay });
  return completion === 'files' ? 'files' : completion.map(({ value }) => value);
}

describe('what may stand at the cursor', () => {
  test.each([
    ['st', ['status']],
    ['sessions ', ['list', 'show', 'replay', 'tail', 'kill', 'help']],
    ['--json sessions re', ['replay']],
    ['completion ', [...shells]],
    ['connect ', ['prod-db', 'prod-eu']],
    ['connect prod-d', ['prod-db']],
    ['exec prod-db --role ', ['engineer', 'reader']],
    ['exec --role=read prod-db', ['prod-db']],
    ['exec prod-db --role=re', ['--role=reader']],
    ['exec --reason "two words" prod-db --role e', ['engineer']],
    ['exec prod-db --reason ', []],
    ['exec prod-db --output ', ['table', 'json', 'ndjson', 'csv']],
    ['exec prod-db --file ', 'files'],
    ['exec prod-db --file=', 'files'],
    ['--relay ', [one, 'https://two.example.com']],
    ['--relay https://two.example.com/ exec ', ['staging']],
    ['exec --relay https://nobody.example.com ', []],
    ['sessions show ses', ['ses-1', 'ses-2']],
    ['doctor --r', ['--role', '--reason', '--relay']],
    ['config list --', ['--show-origin', '--help', '--version', '--relay', '--json']],
    ['connect prod-db -- psql ', []],
    ['dev ', ['login', 'demo']],
    ['relay --config ', 'files'],
    ['witness --state ', 'files'],
    ['nonsense ', []],
    ['completion bash --an', []],
  ])('gate %s▮', async (line, expected) => {
    expect(await offered(line)).toEqual(expected);
  });

  test('every command is offered, and none that is not there', async () => {
    expect(await offered('')).toEqual(expect.arrayContaining(['login', 'status', 'targets', 'connect', 'exec', 'doctor', 'config', 'completion', 'relay', 'witness', 'dev']));
  });

  test('the relay of GATE_RELAY outdoes the one that answered last', async () => {
    expect(await offered('connect ', { relay: 'https://two.example.com' })).toEqual(['staging']);
    expect(await offered('connect ', { cache: { relays: {} } })).toEqual([]);
  });
});

test.each([
  ['gate exec  a', ['gate', 'exec', 'a']],
  ['gate exec ', ['gate', 'exec', '']],
  ['gate a "b c" \'d "e\' f\\ g', ['gate', 'a', 'b c', 'd "e', 'f g']],
  ['gate "open quo', ['gate', 'open quo']],
  ['gate \t', ['gate', '']],
])('%j is split as a shell would', (line, words) => {
  expect(splitLine(line)).toEqual(words);
});

describe('the memory of names', () => {
  const role = (name: string) => ({ name, denies: [], requires: [], durationMaxSeconds: 60 });

  test('targets, grants and sessions leave their names, for this user alone, and no more', async () => {
    const place = await mkdtemp(join(directory, 'memory-'));
    await using relay = await startHttp((request, response) => {
      const path = request.url ?? '';
      if (path === '/v1/targets') return sendJson(response, 200, { targets: [{ name: 'shop', database: 'd', roles: [role('reader')] }] });
      if (path === '/v1/grants') return sendJson(response, 201, { id: 'g', target: 'shop', role: 'writer', reason: 'canary', createdAt: '', expiresAt: '' });
      return sendJson(response, 200, { sessions: [] });
    });
    const client = rememberNames(createRelayClient(configOf(place, relay.url, { token: 'canary' }), { warn: () => undefined }), place);
    await client.targets();
    await client.createGrant({ target: 'shop', reason: 'canary' });
    await client.sessions();
    expect(loadNameCache(place)).toEqual({ latest: relay.url, relays: { [relay.url]: { targets: { shop: ['reader', 'writer'] }, sessions: [] } } });
    const path = join(place, 'names.json');
    expect(await readFile(path, 'utf8')).not.toContain('canary');
    if (process.platform !== 'win32') expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('what gate targets was told is offered by the next process, which asks no relay', async () => {
    const place = await mkdtemp(join(directory, 'two-'));
    await using relay = await startHttp((_, response) =>
      sendJson(response, 200, { targets: [{ name: 'shop', database: 'd', roles: [role('reader')] }] }),
    );
    const environment = { GATE_CONFIG_DIR: place, GATE_RELAY: relay.url, GATE_TOKEN: 'x' };
    expect((await gateProcess(['targets', '--json'], environment)).code).toBe(0);
    expect(relay.requests).toEqual(['GET /v1/targets']);
    const answer = await gateProcess(['completion', 'zsh', '--answer', '--', 'connect', ''], environment);
    expect(answer).toEqual({ code: 0, stdout: 'shop\tas reader\n', stderr: '' });
    expect(relay.requests).toHaveLength(1);
  });

  test('a place that cannot be written takes nothing from the command', async () => {
    await using relay = await startHttp((_, response) => sendJson(response, 200, { targets: [] }));
    const file = join(directory, 'gate', 'below-a-file');
    const client = rememberNames(createRelayClient(configOf(file, relay.url, { token: 'x' }), { warn: () => undefined }), file);
    expect(await client.targets()).toEqual([]);
  });

  test.each(['', 'null', '[]', '{"relays":5}', '{"relays":{"https://a":{"targets":{"x":7},"sessions":"s"}}}', `"${'x'.repeat(2 ** 20)}"`])(
    'a damaged file is an empty memory',
    async (text) => {
      const place = await mkdtemp(join(directory, 'damaged-'));
      await writeFile(join(place, 'names.json'), text);
      expect(Object.values(loadNameCache(place).relays).flatMap(({ sessions }) => sessions)).toEqual([]);
    },
  );

  test('names that a shell would take for more than a word are not offered', async () => {
    const place = await mkdtemp(join(directory, 'hostile-'));
    const targets = { 'a b': [], '$(touch x)': [], '`id`': [], '-rf': [], ':files': [], 'a;b': [], good: ['$(id)', 'fine'] };
    await writeFile(join(place, 'names.json'), JSON.stringify({ latest: one, relays: { [one]: { targets, sessions: ["'"] } } }));
    expect(loadNameCache(place)).toEqual({ latest: one, relays: { [one]: { targets: { good: ['fine'] }, sessions: [] } } });
  });
});

const isInstalled = (shell: string) => spawnSync(shell, ['--version']).status === 0;
const shellEnvironment = () => ({ PATH: `${directory}:${process.env['PATH']}`, HOME: directory, GATE_CONFIG_DIR: directory, LC_ALL: 'C.UTF-8' });

async function inShell(shell: string, script: string): Promise<string[]> {
  const { stdout } = await run(shell, [...(shell === 'zsh' ? ['-f'] : []), '-c', script], { env: shellEnvironment(), cwd: directory });
  return stdout.split('\n').filter((line) => line !== '');
}

test.each(shells)('gate completion %s prints its script', async (shell) => {
  expect(await gateProcess(['completion', shell], {})).toEqual({ code: 0, stdout: completionScripts[shell], stderr: '' });
});

test('an unknown shell is a usage error', async () => {
  expect((await gateProcess(['completion', 'tcsh'], {})).code).toBe(2);
});

describe.skipIf(!isInstalled('bash'))('bash', () => {
  /** Runs the registered function as bash does on Tab at the end of the line; words as readline breaks them. */
  const onTab = (line: string, words: readonly string[]) => {
    const quoted = words.map((word) => `'${word}'`).join(' ');
    return inShell(
      'bash',
      `source <(gate completion bash)
       [[ $(complete -p gate) == 'complete -F _gate gate' ]] || exit 3
       COMP_LINE='${line}' COMP_POINT=${line.length} COMP_WORDS=(${quoted}) COMP_CWORD=${words.length - 1} COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
       _gate; printf '%s\\n' "\${COMPREPLY[@]}"`,
    );
  };

  test.each([
    ['gate stat', ['gate', 'stat'], ['status']],
    ['gate connect ', ['gate', 'connect', ''], ['prod-db', 'prod-eu']],
    ['gate exec prod-db --role=', ['gate', 'exec', 'prod-db', '--role', '='], ['engineer', 'reader']],
    ['gate --relay https://t', ['gate', '--relay', 'https', ':', '//t'], ['//two.example.com']],
    ['gate exec x --file nam', ['gate', 'exec', 'x', '--file', 'nam'], ['names.json']],
    ['gate exec x --reason ', ['gate', 'exec', 'x', '--reason', ''], []],
  ])('%s▮', async (line, words, expected) => {
    expect(await onTab(line, words)).toEqual(expected);
  });
});

describe.skipIf(!isInstalled('zsh'))('zsh', () => {
  /** compadd and _files work only inside its line editor, so they tell here what they were given. */
  const onTab = (words: readonly string[]) =>
    inShell(
      'zsh',
      `compdef() { registered="$*" }
       compadd() { print -l -- "\${(@P)\${@[-1]}}" '|' "\${(@P)\${@[3]}}" }
       _files() { print FILES }
       eval "$(gate completion zsh)"
       [[ $registered == '_gate gate' ]] || exit 3
       words=(${words.map((word) => `'${word}'`).join(' ')}); CURRENT=${words.length}; PREFIX='${words.at(-1)}'
       _gate`,
    );

  test.each([
    [['gate', 'stat'], ['status', '|', 'status  -- the relay, my login, and my open sessions']],
    [['gate', 'exec', '--reason', 'two words', 'prod-db', '--role', ''], ['engineer', 'reader', '|', 'engineer', 'reader']],
    [['gate', 'exec', 'x', '--file', ''], ['FILES']],
  ])('%j', async (words, expected) => {
    expect(await onTab(words)).toEqual(expected);
  });
});

describe.skipIf(!isInstalled('fish'))('fish', () => {
  test.each([
    ['gate stat', ['status\tthe relay, my login, and my open sessions']],
    ['gate connect ', ['prod-db\tas engineer, reader', 'prod-eu']],
    ['gate exec prod-db --role ', ['engineer', 'reader']],
    ['gate exec x --file nam', ['names.json']],
  ])('%s▮', async (line, expected) => {
    expect(await inShell('fish', `gate completion fish | source; complete -C '${line}'`)).toEqual(expected);
  });
});
