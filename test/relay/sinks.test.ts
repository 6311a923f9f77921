import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { sinksMax } from '../../src/relay/sinks.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { fixturePolicy } from './fixture.ts';

const slackUrl = 'https://hooks.slack.com/services/T0/B0/slack-canary-4410';

async function load(section: string, files: Readonly<Record<string, [text: string, mode?: number]>> = {}) {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, 'policy.yaml'), fixturePolicy);
  for (const [name, [text, mode = 0o600]] of Object.entries(files)) await writeFile(join(directory, name), text, { mode });
  const file = join(directory, 'relay.yaml');
  await writeFile(
    file,
    `stateDirectory: ./state
policyFile: ./policy.yaml
issuer: { url: 'http://127.0.0.1:1', clientId: gate-cli, audience: gate-relay }
targets:
  prod-db: { host: 127.0.0.1, database: postgres, user: gate, tls: disable }
${section}`,
  );
  return loadRelayConfig(file);
}

const section = (...lines: string[]) => `notifications:\n${lines.map((line) => `  - { ${line} }\n`).join('')}`;

function setEnvironment(name: string, value: string): void {
  process.env[name] = value;
  onTestFinished(() => void delete process.env[name]);
}

test('there are none unless relay.yaml names them', async () => {
  expect((await load('')).notifications).toEqual([]);
});

test('URLs and secrets come from relay.yaml, private files, or the environment', async () => {
  setEnvironment('GATE_TEST_HOOK_SECRET', 'from-the-environment');
  const { notifications, warnings } = await load(
    section(
      'name: one, format: webhook, url: https://example.com/a, secretFile: ./secret, events: [created, denied], targets: [prod-db, gone]',
      'name: two, format: slack, urlFile: ./slack.url, includeSql: false',
      "name: three, format: webhook, url: 'http://127.0.0.1:9/b', secretEnv: GATE_TEST_HOOK_SECRET, includeParameters: true",
    ),
    { secret: ['0123456789abcdef\n'], 'slack.url': [`${slackUrl}\r\n`] },
  );
  expect(notifications).toEqual([
    {
      name: 'one',
      format: 'webhook',
      url: new URL('https://example.com/a'),
      secret: '0123456789abcdef',
      events: ['created', 'denied'],
      targets: ['prod-db', 'gone'],
      includeSql: true,
      includeParameters: false,
    },
    { name: 'two', format: 'slack', url: new URL(slackUrl), includeSql: false, includeParameters: false },
    {
      name: 'three',
      format: 'webhook',
      url: new URL('http://127.0.0.1:9/b'),
      secret: 'from-the-environment',
      includeSql: true,
      includeParameters: true,
    },
  ]);
  expect(warnings).toContain('notification "one" is for a target "gone" that is not configured');
});

describe('what cannot work or would leak is refused, and no value of a secret is repeated', () => {
  const files = { secret: ['0123456789abcdef'], short: ['secret-canary'], open: ['0123456789abcdef', 0o644], 'slack.url': [slackUrl], bad: ['slack-canary-4410'] } as const;
  test.each([
    [`name: a, format: slack, url: '${slackUrl}'`, 'the URL of a Slack webhook is a secret'],
    ['name: a, format: slack', 'write exactly one of urlFile or urlEnv'],
    ['name: a, format: slack, urlFile: ./slack.url, urlEnv: X', 'write exactly one of urlFile or urlEnv'],
    ['name: a, format: slack, urlFile: ./bad', 'the URL is none'],
    ['name: a, format: slack, urlFile: ./open', 'can be read by other users'],
    ['name: a, format: slack, urlFile: ./missing', 'cannot read the URL of notification "a" file'],
    ['name: a, format: slack, urlEnv: GATE_TEST_NOT_SET', 'the URL of notification "a": the environment variable GATE_TEST_NOT_SET is not set'],
    ['name: a, format: slack, urlFile: ./slack.url, secretFile: ./secret', 'takes no secret'],
    ['name: a, format: webhook, url: https://example.com', 'write exactly one of secretFile or secretEnv'],
    ['name: a, format: webhook, secretFile: ./secret', 'write exactly one of url, urlFile or urlEnv'],
    ['name: a, format: webhook, url: https://example.com, secretFile: ./secret, secretEnv: X', 'write exactly one of secretFile or secretEnv'],
    ['name: a, format: webhook, url: https://example.com, secretFile: ./short', 'the secret is shorter than 16 characters'],
    ['name: a, format: webhook, url: http://example.com/slack-canary-4410, secretFile: ./secret', 'the URL must be https'],
    ['name: a, format: webhook, url: ftp://127.0.0.1/, secretFile: ./secret', 'the URL must be https'],
    ["name: a, format: webhook, url: 'https://u:slack-canary-4410@example.com', secretFile: ./secret", 'must not hold a user name or a password'],
    ['name: a, format: webhook, url: https://example.com, secretFile: ./secret, includeSql: false, includeParameters: true', 'needs includeSql'],
    ['name: a, format: webhook, url: https://example.com, secretFile: ./secret, events: [made]', 'notifications.0.events.0: expected created or approved or'],
    ['name: a, format: webhook, url: https://example.com, secretFile: ./secret, events: []', 'at least one entry'],
    ['name: a, format: email', 'expected webhook or slack'],
    ['name: a, format: webhook, url: https://example.com, secret: secret-canary', 'unknown key "secret"'],
  ])('%s', async (line, problem) => {
    const error = await load(section(line), files as never).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'config-invalid', message: expect.stringContaining(problem) });
    expect(String(error)).not.toMatch(/canary/);
  });

  test('a name twice', async () => {
    const line = 'name: a, format: slack, urlFile: ./slack.url';
    await expect(load(section(line, line), files as never)).rejects.toMatchObject({ message: expect.stringContaining('the name is taken') });
  });

  test('more than there may be', async () => {
    const lines = Array.from({ length: sinksMax + 1 }, (_, index) => `name: a${index}, format: slack, urlFile: ./slack.url`);
    expect((await load(section(...lines.slice(1)), files as never)).notifications).toHaveLength(sinksMax);
    await expect(load(section(...lines), files as never)).rejects.toMatchObject({ message: expect.stringContaining('at most 20 entries') });
  });
});
