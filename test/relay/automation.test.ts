/** Automation of access on a whole relay: who leaves loses what runs, the directory is asked, and the inventory tells who has what. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runInventory } from '../../src/cli/commands/inventory.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { startRelay } from '../../src/relay/relay.ts';
import { openTerminal } from '../cli/doctor-stage.ts';
import { scimToken, startScimServer, type ScimServer } from '../oidc/scim-server.ts';
import { eventually, startRelayFixture, type RelayFixture } from './fixture.ts';
import { parserWorker } from './parser-worker.ts';

const policy = `
auditors: [audit]
administrators: [dba]
issuers: { ci: { url: https://ci.example.com, audience: gate } }
workloads: { nightly: { issuer: ci, claims: { sub: '7' }, groups: [engineering] } }
targets:
  prod-db:
    roles:
      reader: { groups: [engineering, operations], allow: [read], maxDuration: 8h }
      dba: { groups: [dba], allow: [read, write, schema, admin, unknown], maxDuration: 1h }
`;
let scim: ScimServer;
let directory: string;
let fixture: RelayFixture;
const subjects = new Map<string, string>();

beforeAll(async () => {
  scim = await startScimServer();
  directory = await mkdtemp(join(tmpdir(), 'gate-automation-'));
  await writeFile(join(directory, 'scim-token'), `${scimToken}\n`, { mode: 0o600 });
  fixture = await startRelayFixture({
    directory,
    policy,
    targets: `standing: { every: 10s }\ndirectory: { scim: '${scim.url}/', tokenFile: ./scim-token, every: 10s }\n`,
    start: async (file, port) => {
      const config = await loadRelayConfig(file);
      const often = { standing: { everySeconds: 0.2 }, ...(config.directory && { directory: { ...config.directory, everySeconds: 0.1 } }) };
      return startRelay({ ...config, ...often, listen: { ...config.listen, port } }, createRelayLog('silent'), parserWorker);
    },
  });
  for (const name of ['engineer', 'dba', 'dba2', 'operator']) {
    const { subject, groups } = await (await fixture.clientFor(name)).whoAmI();
    subjects.set(name, subject);
    scim.users.set(name, { id: name, externalId: subject, userName: name, active: true, groups: groups.map((display) => ({ display })) });
  }
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  await scim?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

async function decisions() {
  const entries = [];
  for await (const entry of (await fixture.clientFor('operator')).decisions()) entries.push(entry);
  return entries;
}

async function terminal(account: string, json: boolean) {
  const token = await (await fixture.clientFor(account)).accessToken();
  return openTerminal({ GATE_CONFIG_DIR: directory, GATE_RELAY: fixture.relayUrl, GATE_TOKEN: token }, json);
}

describe('the inventory', () => {
  test('tells what open and ended sessions ran, what of it is too much, and what never came by', async () => {
    const tunnel = await fixture.connect('dba2', 'dba');
    const pg = await tunnel.client();
    await pg.query('select * from items limit 7');
    await pg.query("insert into items values (1000, 'new')");
    await expect((await (await fixture.connect('engineer', 'reader')).client()).query('delete from items')).rejects.toThrow();
    const relay = await fixture.clientFor('operator');
    const { principals } = await relay.inventory();
    const of = (name: string) => principals.find((one) => one.name === name);
    expect(of('dba2')).toMatchObject({ kind: 'human', grants: 1, sessions: 1, statements: 2, refused: 0, rows: 7, kinds: ['read', 'write'], roles: [{ target: 'prod-db', role: 'dba' }] });
    expect(of('dba2')?.findings).toEqual([{ finding: 'over-scoped', target: 'prod-db', role: 'dba', detail: 'the role dba on prod-db also allows schema, admin, unknown, and ran read, write' }]);
    expect(of('engineer')).toMatchObject({ statements: 1, refused: 1, kinds: [], uses: [{ target: 'prod-db', role: 'reader' }] });
    expect(of('nightly')).toMatchObject({ kind: 'workload', issuer: 'https://ci.example.com', findings: [{ finding: 'unowned' }, { finding: 'never-seen' }] });
    expect(of('operator')).toMatchObject({ sessions: 0, lastLoginAt: expect.any(String), findings: [{ detail: 'the role reader on prod-db was not used' }] });
    // What the session is known to have done outlives it, and pages put together are the whole.
    await (await fixture.clientFor('dba2')).endSession(tunnel.session.id);
    const pages = [];
    for (let offset: number | undefined = 0; offset !== undefined; ) {
      const response = await fetch(`${fixture.relayUrl}/v1/inventory?limit=2&offset=${offset}`, { headers: { authorization: `Bearer ${await relay.accessToken()}` } });
      const page = (await response.json()) as { principals: { name: string; kinds: string[] }[]; next?: number };
      expect(page.principals.length).toBeLessThanOrEqual(2);
      pages.push(...page.principals);
      offset = page.next;
    }
    expect(pages.map(({ name }) => name)).toEqual(['dba', 'dba2', 'engineer', 'operator', 'nightly']);
    expect(pages[1]?.kinds).toEqual(['read', 'write']);
  });

  test('is for auditors and administrators, and that they read it is on record', async () => {
    await expect((await fixture.clientFor('engineer')).inventory()).rejects.toMatchObject({ code: 'denied', rule: 'auditors' });
    await (await fixture.clientFor('dba')).inventory();
    await (await fixture.clientFor('dba')).inventory();
    const readings = (await decisions()).flatMap(({ event }) => (event.kind === 'read' && event.what === 'inventory' ? [event.by.name] : []));
    expect(readings.toSorted()).toEqual(['dba', 'operator']);
    const operator = await fixture.clientFor('operator');
    await expect(operator.inventory({ since: 'yesterday' })).rejects.toMatchObject({ code: 'usage' });
  });

  test('for people, and for programs', async () => {
    const text = await terminal('operator', false);
    await runInventory(text.context, {});
    const [head, ...lines] = text.output().split('\n');
    expect(head).toMatch(/^NAME +KIND +BEHIND IT +LAST USED +GRANTS +SESSIONS +STATEMENTS +KINDS +USED +FINDINGS$/);
    expect(lines.find((line) => line.startsWith('dba2'))).toMatch(/^dba2 +human +- +(?:now|\d+ s ago) +1 +1 +2 +read,write +prod-db\/dba +over-scoped:prod-db\/dba$/);
    expect(lines.find((line) => line.startsWith('nightly'))).toMatch(/ never +0 +0 +0 +- +- +unowned,never-seen$/);
    const json = await terminal('operator', true);
    await runInventory(json.context, { finding: 'unowned', since: new Date(0) });
    expect(JSON.parse(json.output())).toMatchObject({ since: '1970-01-01T00:00:00.000Z', dormant: expect.any(String), principals: [{ name: 'nightly' }] });
  });
});

describe('who leaves', () => {
  test('by the directory: their sessions end, and it is on record why', async () => {
    const tunnel = await fixture.connect('dba2', 'dba');
    const failed = (await tunnel.client()).query('select pg_sleep(30)').catch((error: unknown) => error);
    scim.users.set('dba2', { id: 'dba2', externalId: subjects.get('dba2') as string, userName: 'dba2', active: false });
    const reason = 'dba2 has left: the directory says that they are not active';
    expect(await failed).toMatchObject({ code: '57P01', message: expect.stringContaining(`the grant was revoked by gate`) });
    expect((await decisions()).find(({ event }) => event.kind === 'grant.revoke' && event.grant === tunnel.session.grant)?.event).toMatchObject({ by: { name: 'gate', subject: 'relay' }, reason });
    await expect((await fixture.clientFor('dba2')).createGrant({ target: 'prod-db' })).rejects.toMatchObject({ code: 'denied', rule: 'offboarded/dba2', message: reason });
  });

  test('a directory that is silent shows in /readyz, and nothing that runs ends', async () => {
    const tunnel = await fixture.connect('engineer', 'reader');
    const pg = await tunnel.client();
    const checks = async () => {
      const response = await fetch(`${fixture.relayUrl}/readyz`);
      return { status: response.status, ...((await response.json()) as { checks: { directory: boolean } }) };
    };
    expect(await checks()).toMatchObject({ status: 200, ready: true, checks: { directory: true } });
    scim.instead = (_, response) => void response.destroy();
    await eventually('it is seen to be silent', async () => !(await checks()).checks.directory);
    expect(await checks()).toMatchObject({ status: 200, ready: true, checks: { directory: false } });
    expect((await pg.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    scim.instead = undefined;
  });

  test('by the policy: what runs ends within a second of the reload', async () => {
    const tunnel = await fixture.connect('engineer', 'reader');
    const failed = (await tunnel.client()).query('select pg_sleep(30)').catch((error: unknown) => error);
    await writeFile(join(directory, 'policy.yaml'), `${policy}offboarded: [{ subject: '${subjects.get('engineer')}', reason: left on Friday }]\n`);
    expect(await failed).toMatchObject({ code: '57P01', message: expect.stringContaining('engineer has left: left on Friday') });
    const entries = await decisions();
    const timeOf = (isIt: (event: (typeof entries)[number]['event']) => boolean) => Date.parse(entries.findLast(({ event }) => isIt(event))?.time ?? '');
    const reloaded = timeOf(({ kind }) => kind === 'policy');
    const revoked = timeOf((event) => event.kind === 'grant.revoke' && event.grant === tunnel.session.grant);
    expect(revoked - reloaded).toBeGreaterThanOrEqual(0);
    expect(revoked - reloaded).toBeLessThan(1000);
    await expect((await fixture.clientFor('engineer')).createGrant({ target: 'prod-db' })).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('left on Friday') });
    const found = (await (await fixture.clientFor('operator')).inventory()).principals.find(({ name }) => name === 'engineer');
    expect(found?.findings).toEqual([{ finding: 'offboarded', detail: 'engineer has left: left on Friday' }]);
  });
});

describe('relay.yaml', () => {
  test('takes what docs/automation.md shows', async () => {
    const docs = await readFile(join(import.meta.dirname, '../../docs/automation.md'), 'utf8');
    const example = /```yaml\n# relay\.yaml\n([^]*?)```/.exec(docs)?.[1] ?? '';
    const own = await readFile(join(directory, 'relay.yaml'), 'utf8');
    await writeFile(join(directory, 'scim.token'), 'secret\n', { mode: 0o600 });
    await writeFile(join(directory, 'changed.yaml'), own.replace(/^standing:.*\ndirectory:.*\n/m, example));
    const { standing, directory: asked } = await loadRelayConfig(join(directory, 'changed.yaml'));
    expect([standing, asked]).toEqual([{ everySeconds: 300 }, { url: 'https://idp.example.com/scim/v2', token: 'secret', match: 'externalId', everySeconds: 300 }]);
  });

  test.each<[string, (text: string) => string, string]>([
    ['an interval that would flood', (text) => text.replace('standing: { every: 10s }', 'standing: { every: 9s }'), 'write at least 10s'],
    ['the same of the directory', (text) => text.replace('scim-token, every: 10s', 'scim-token, every: 1s'), 'write at least 10s'],
    ['a token in the clear', (text) => text.replace(/scim: '[^']+'/, "scim: 'http://idp.example.com/scim'"), 'directory.scim http://idp.example.com/scim is plain http'],
    ['a query in the URL', (text) => text.replace(/scim: '[^']+'/, "scim: 'https://idp.example.com/scim?x=1'"), 'without ? and #'],
    ['an attribute that is none', (text) => text.replace('./scim-token,', './scim-token, match: email,'), 'match'],
    ['no token', (text) => text.replace('./scim-token', './nowhere'), 'cannot read the token of the directory file'],
    ['a token that others can read', (text) => text.replace('./scim-token', './open-token'), 'can be read by other users'],
    ['a token of two lines', (text) => text.replace('./scim-token', './long-token'), 'must be one line without blanks'],
  ])('refuses %s', async (_, change, message) => {
    await writeFile(join(directory, 'open-token'), 'x');
    await chmod(join(directory, 'open-token'), 0o644);
    await writeFile(join(directory, 'long-token'), 'x\ny\n', { mode: 0o600 });
    const changed = change(await readFile(join(directory, 'relay.yaml'), 'utf8'));
    await writeFile(join(directory, 'changed.yaml'), changed);
    await expect(loadRelayConfig(join(directory, 'changed.yaml'))).rejects.toMatchObject({ code: 'config-invalid', message: expect.stringContaining(message) });
  });
});
