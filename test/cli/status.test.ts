/** gate status on a real relay: whose sessions it shows, and what it says without a login. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runStatus } from '../../src/cli/commands/status.ts';
import { openSession } from '../../src/client/session.ts';
import { startRelayFixture, type RelayFixture } from '../relay/fixture.ts';
import { openTerminal } from './doctor-stage.ts';

let fixture: RelayFixture;
let mine: string;
let foreign: string;

beforeAll(async () => {
  fixture = await startRelayFixture();
  const open = async (account: string, role: string) => {
    const client = await fixture.clientFor(account);
    return (await openSession(client, 'exec', { target: 'prod-db', role, reason: `as ${account}` })).id;
  };
  mine = await open('operator', 'reader');
  foreign = await open('engineer', 'engineer');
  const ended = await open('operator', 'reader');
  await (await fixture.clientFor('operator')).endSession(ended);
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

/** The operator may see everybody's sessions. */
async function terminal(json: boolean) {
  const client = await fixture.clientFor('operator');
  expect((await client.sessions()).map(({ id }) => id)).toContain(foreign);
  const environment = { GATE_CONFIG_DIR: fixture.directory, GATE_RELAY: fixture.relayUrl, GATE_TOKEN: await client.accessToken() };
  return openTerminal(environment, json);
}

test('for people', async () => {
  const { context, output } = await terminal(false);
  await runStatus(context);
  const lines = output().split('\n');
  expect(lines.slice(0, 4)).toEqual([
    `relay    ${fixture.relayUrl} (GATE_RELAY)`,
    expect.stringMatching(/^login {4}\S+ \(.+\), in operations, audit; the token expires in \d+ (?:h|min)$/),
    'sessions 1 open',
    '',
  ]);
  expect(lines[4]).toMatch(/^SESSION +TARGET +ROLE +COMMAND +STARTED +ENDS +STATEMENTS +REASON$/);
  expect(lines[5]).toMatch(new RegExp(`^${mine} +prod-db +reader +exec +\\d+ s ago +in \\d+ (?:h|min) +0 +as operator$`));
  expect(lines.slice(6)).toEqual(['']);
});

test('under --json', async () => {
  const { context, output } = await terminal(true);
  await runStatus(context);
  const { relay, login, sessions } = JSON.parse(output()) as { relay: string; login: object; sessions: object[] };
  expect(relay).toBe(fixture.relayUrl);
  expect(login).toMatchObject({ groups: ['operations', 'audit'], kind: 'human' });
  expect(sessions).toEqual([expect.objectContaining({ id: mine, state: 'open' })]);
});

test('without a login the relay is named and the exit says why', async () => {
  const { context, output } = openTerminal({ GATE_CONFIG_DIR: fixture.directory, GATE_RELAY: fixture.relayUrl }, false);
  await expect(runStatus(context)).rejects.toMatchObject({ code: 'login-required', hint: 'Run gate login.' });
  expect(output()).toBe(`relay    ${fixture.relayUrl} (GATE_RELAY)\n`);
});
