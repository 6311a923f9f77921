/** gate policy without a relay: files checked, statements explained, cases run; and replay on what a relay answers. */
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { SessionSummary } from '../../src/api/api.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { main } from '../../src/cli/main.ts';
import { runPolicyExplain } from '../../src/cli/commands/policy/explain.ts';
import { runPolicyReplay } from '../../src/cli/commands/policy/replay.ts';
import type { Context } from '../../src/cli/context.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { GateError } from '../../src/errors/errors.ts';

const policyText = `approvers:
  dba: { groups: [dba] }
targets:
  shop:
    roles:
      engineer: { preset: engineer, groups: [engineering], approvers: [dba] }
      reader: { groups: [support], allow: [read], rowsMax: 100 }
`;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gate-policy-test-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));
beforeEach(() => writeFile(join(directory, 'policy.yaml'), policyText));

type Ended = { readonly code: number; readonly out: string; readonly err: string };

function openStreams(): { streams: IoStreams; out: () => string; err: () => string } {
  const [out, err]: [string[], string[]] = [[], []];
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
  stderr.setEncoding('utf8').on('data', (text: string) => err.push(text));
  const streams: unknown = { stdin: new PassThrough(), stdout, stderr };
  return { streams: streams as IoStreams, out: () => out.join(''), err: () => err.join('') };
}

/** A whole command line, as `bin/` runs it. */
async function gate(...argv: string[]): Promise<Ended> {
  const { streams, out, err } = openStreams();
  const code = await main({ argv, streams, extraCommands: [], stopSignal: () => new AbortController().signal });
  await new Promise(setImmediate);
  return { code, out: out(), err: err() };
}

const file = (name: string) => join(directory, name);

describe('check', () => {
  test('a file that is taken', async () => {
    const { code, out, err } = await gate('policy', 'check', file('policy.yaml'));
    expect(code).toBe(0);
    expect(out).toMatch(/^TARGET +ROLE +GROUPS +RULES +GRANT\nshop +engineer +engineering +7 +at once\nshop +reader +support +0 +at once\n$/);
    expect(err).toMatch(/policy\.yaml is valid\. SHA-256 [\da-f]{64}\n$/);
    const json = await gate('policy', 'check', file('policy.yaml'), '--json');
    expect(JSON.parse(json.out)).toMatchObject({ policy: expect.stringMatching(/^[\da-f]{64}$/) as string, roles: [{ target: 'shop', role: 'engineer' }, { role: 'reader' }] });
  });

  test('a file with mistakes: exit 2, every one with its place', async () => {
    await writeFile(file('bad.yaml'), policyText.replace('rowsMax', 'rowMax').replace('preset: engineer', 'preset: enginer'));
    const { code, out, err } = await gate('policy', 'check', file('bad.yaml'));
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(`${file('bad.yaml')}:7:51: targets.shop.roles.reader: unknown key "rowMax", did you mean "rowsMax"?`);
    expect(JSON.parse((await gate('policy', 'check', file('bad.yaml'), '--json')).err)).toMatchObject({ error: { code: 'config-invalid' } });
  });

  test('a file that is not there', async () => {
    expect(await gate('policy', 'check', file('nowhere.yaml'))).toMatchObject({ code: 2, err: expect.stringContaining('cannot read') as string });
  });
});

describe('explain', () => {
  const explain = (...argv: string[]) => gate('policy', 'explain', '--policy', file('policy.yaml'), '--target', 'shop', ...argv);

  test('for people: the verdict, and facts and verdict of each statement', async () => {
    const { code, out } = await explain('--as', 'ann', '--groups', 'engineering, other', '--sql', 'select 1; create table x (a int)');
    expect(code).toBe(0);
    expect(out).toMatch(/^who +ann \(engineering, other\) as engineer on shop\npolicy +[\da-f]{12}\nverdict +hold\nrule +shop\/engineer\/definitions\n/);
    expect(out).toMatch(/\n\nstatement 1: SELECT\n[^]*verdict +allow\n[^]*\n\nstatement 2: /);
    expect(out).toMatch(/approval +2 of dba within 30 min/);
  });

  test('as JSON', async () => {
    await writeFile(file('q.sql'), 'delete from orders');
    const { out } = await explain('--groups', 'support', '--role', 'reader', '--file', file('q.sql'), '--json');
    expect(JSON.parse(out)).toMatchObject({
      role: 'reader',
      decision: { effect: 'deny', rule: 'shop/reader/allow' },
      statements: [{ facts: { kinds: ['write'] }, decision: { effect: 'deny' } }],
    });
  });

  test.each([
    [['--groups', 'support', '--sql', 'selekt 1'], 0, /verdict +deny\nrule +parse\nreason +syntax error/],
    [['--groups', 'support', '--sql', 'set standard_conforming_strings = off'], 0, /rule +pinned-settings/],
    [['--groups', 'nobody', '--sql', 'select 1'], 3, /there is no target "shop", or none of the groups may reach it/],
    [['--groups', 'nobody', '--role', 'reader', '--sql', 'select 1'], 0, /verdict +deny\nrule +shop\/reader\/groups/],
    [['--sql', 'select 1', '--file', 'x'], 2, /either --sql TEXT or --file FILE/],
    [[], 2, /either --sql TEXT or --file FILE/],
  ])('%j: exit %d', async (argv, code, text) => {
    const ended = await explain(...argv);
    expect(ended.code).toBe(code);
    expect(ended.out + ended.err).toMatch(text);
  });

  test('without a file the relay is asked, for others with --as', async () => {
    const asked: unknown[] = [];
    const answer = { target: 'shop', role: 'r', principal: { name: 'ann', groups: [] }, policy: 'abc', decision: { effect: 'allow', rule: 'shop/r/allow', reason: 'x' }, statements: [] } as const;
    const { context, out } = relayContext({ explain: (request) => (asked.push(request), Promise.resolve({ ...answer, principal: { name: 'ann', groups: [] }, statements: [] })) });
    await runPolicyExplain(context, { target: 'shop', sql: 'select 1', as: 'ann', groups: 'a,b' });
    await runPolicyExplain(context, { target: 'shop', sql: 'select 1', role: 'r' });
    expect(asked).toEqual([{ target: 'shop', sql: 'select 1', as: { name: 'ann', groups: ['a', 'b'] } }, { target: 'shop', sql: 'select 1', role: 'r' }]);
    expect(out()).toContain('verdict        allow');
    await expect(runPolicyExplain(context, { target: 'shop', sql: 'select 1', groups: 'a' })).rejects.toMatchObject({ code: 'usage' });
    await expect(runPolicyExplain(context, { target: 'shop', sql: 'x'.repeat(12 * 1024 + 1) })).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('test', () => {
  const oneCase = (sql: string, expected: string, more = '') => `  - { who: { groups: [engineering] }, target: shop, sql: "${sql}", expect: ${expected}${more} }\n`;
  let number = 0;
  async function cases(text: string, name = 'cases.yaml'): Promise<string> {
    const path = file(`suite-${(number += 1)}`);
    await mkdir(join(path, 'deep'), { recursive: true });
    await writeFile(join(path, 'policy.yaml'), policyText);
    await writeFile(join(path, 'deep', name), text);
    return path;
  }

  test('all pass', async () => {
    const path = await cases(`cases:\n${oneCase('select 1', 'allow', ', rule: reads')}${oneCase('drop table x', 'hold', ', rule: shop/engineer/definitions, approvals: 2')}`);
    expect(await gate('policy', 'test', path)).toMatchObject({ code: 0, out: expect.stringMatching(/ {2}ok {3}someone \(engineering\) on shop: select 1\n[^]*2 passed, 0 failed\n$/) as string });
  });

  const masked = `approvers: {}
targets:
  shop:
    masks:
      rules:
        - { name: cards, columns: [public.customers.card], mask: { sql: "left(value, 1) || '…'" }, exempt: [{ groups: [fraud], reason: cases, until: 2099-01-01T00:00:00Z }] }
        - { name: rest, columns: [public.customers.id, public.customers.tags], mask: clear }
    roles:
      r: { groups: [engineering, fraud], allow: [read, write] }
`;
  const customers = `catalog:\n  tables:\n    public.customers: { keys: [{ id: bigint }], columns: { id: bigint, card: varchar(20), tags: "text[]", added: timestamptz } }\n    public.items: { keys: [{ id: int }] }\n`;

  test('masks: all columns, none for the exempt, refusals', async () => {
    const path = await cases(
      `policy: ../masked.yaml\n${customers}cases:\n${[
        oneCase('select id, card from customers', 'allow', ', masks: [public.customers.card]'),
        oneCase('select * from customers', 'allow', ', masks: [public.customers.card]'),
        oneCase('select 1', 'allow', ', masks: []'),
        oneCase('select added from customers', 'allow', ', masks: refused'),
        oneCase("update customers set card = '1' where id = 1", 'allow', ', masks: refused'),
        oneCase("update customers set tags = '{a}' where id = 1", 'allow', ', masks: []'),
        oneCase('select card from customers', 'allow', ', masks: []').replace('engineering', 'fraud'),
      ].join('')}`,
    );
    await writeFile(join(path, 'masked.yaml'), masked);
    expect(await gate('policy', 'test', path)).toMatchObject({ code: 0, out: expect.stringMatching(/7 passed, 0 failed\n$/) as string });
  });

  test('masks that differ are told', async () => {
    const wrong = [
      oneCase('select card from customers', 'allow', ', masks: []'),
      oneCase('select 1', 'allow', ', masks: [public.customers.card]'),
      oneCase('select id from customers', 'allow', ', masks: refused'),
      oneCase('select added from customers', 'allow', ', masks: []'),
      oneCase('select id from items', 'allow', ', masks: []'),
    ].join('');
    const path = await cases(`policy: ../masked.yaml\n${customers}cases:\n${wrong}`);
    await writeFile(join(path, 'masked.yaml'), masked);
    const { code, out } = await gate('policy', 'test', path);
    expect(code).toBe(1);
    expect(out).toContain('expected the masked columns none, got public.customers.card');
    expect(out).toContain('expected the masked columns public.customers.card, got none');
    expect(out).toContain('expected that masks refuse it, and they do not');
    expect(out).toContain('masks refuse it by masks/column: the column public.customers.added is not classified');
    expect(out).toMatch(/masks refuse it by masks\/relation: [^\n]*items/);
    expect(out).toMatch(/0 passed, 5 failed\n$/);
    await writeFile(join(path, 'deep', 'cases.yaml'), `policy: ../masked.yaml\ncases:\n${oneCase('select 1', 'allow', ', masks: []')}`);
    expect((await gate('policy', 'test', path)).out).toContain('masks apply, but the catalog of the file says no columns');
  });

  test('explain with a catalog shows masks', async () => {
    await writeFile(file('masked.yaml'), masked);
    await writeFile(file('catalog.yaml'), customers.replace('catalog:\n', '').replaceAll(/^ {2}/gm, ''));
    const argv = ['policy', 'explain', '--policy', file('masked.yaml'), '--catalog', file('catalog.yaml'), '--target', 'shop', '--groups', 'engineering'];
    const { code, out } = await gate(...argv, '--sql', 'select card from customers');
    expect(code).toBe(0);
    expect(out).toContain('public.customers.card: sql (rule shop/masks/cards)');
    expect(out).toMatch(/sent +select card from \(SELECT "?id"?/);
  });

  test('some fail: exit 1, and each says what it got', async () => {
    const path = await cases(`cases:\n${oneCase('select 1', 'deny')}${oneCase('select 2', 'allow', ', rule: writes')}${oneCase('select 3', 'allow', ', approvals: 2, rowsMax: 5')}${oneCase('select 4', 'allow')}`);
    const { code, out } = await gate('policy', 'test', path);
    expect(code).toBe(1);
    expect(out).toContain('expected deny, got allow by shop/engineer/reads: the rule reads allows it');
    expect(out).toContain('expected the rule writes, got shop/engineer/reads');
    expect(out).toContain('expected 2 approvals, got none');
    expect(out).toContain('expected at most 5 rows, got no limit');
    expect(out).toMatch(/1 passed, 3 failed\n$/);
    const json = await gate('policy', 'test', path, '--json');
    expect([json.code, JSON.parse(json.out)]).toEqual([1, expect.objectContaining({ passed: 1, failed: 3 })]);
  });

  test('who may take no role is denied', async () => {
    const path = await cases('cases:\n  - { who: { groups: [] }, target: shop, sql: "select 1", expect: deny }\n  - { who: { groups: [] }, target: shop, sql: "select 1", expect: allow }\n');
    expect(await gate('policy', 'test', path)).toMatchObject({ code: 1, out: expect.stringMatching(/1 passed, 1 failed/) as string });
  });

  test('JUnit: well-formed, whatever stands in names', async () => {
    const path = await cases(`cases:\n  - { name: 'a < b & "c"', who: { groups: [engineering] }, target: shop, sql: select 1, expect: hold }\n${oneCase('select 1', 'allow')}`);
    const { code, out } = await gate('policy', 'test', path, '--reporter', 'junit');
    expect(code).toBe(1);
    expect(out).toMatch(/^<\?xml version="1\.0" encoding="UTF-8"\?>\n<testsuites [^>]*>\n {2}<testsuite name="[^"]*cases\.yaml" tests="2" failures="1">\n/);
    expect(out).toContain('name="a &lt; b &amp; &quot;c&quot;"');
    expect(out).toMatch(/<failure message="expected hold, got allow[^"]*">/);
  });

  test.each([
    ['cases: []', /name at least|write at least one case/],
    ['cases:\n  - { who: { groups: [g] }, target: shop, sql: x, expect: maybe }', /expected allow or hold or deny/],
    ['cases:\n  - { who: { groups: [g] }, target: shop, sql: x, expect: allow, masks: shown }', /write a list of columns/],
    ['policy: nowhere.yaml\ncases:\n  - { who: { groups: [g] }, target: shop, sql: x, expect: allow }', /cannot read .*nowhere\.yaml/],
    ['other: true', /has cases/],
  ])('%j cannot be run: exit 2', async (text, problem) => {
    expect(await gate('policy', 'test', await cases(text))).toMatchObject({ code: 2, out: '', err: expect.stringMatching(problem) as string });
  });

  test('the policy of the command line, and one file alone', async () => {
    const path = await cases(`cases:\n${oneCase('select 1', 'allow')}`);
    await writeFile(file('other.yaml'), 'targets: { shop: { roles: { r: { groups: [engineering], allow: [write] } } } }');
    expect((await gate('policy', 'test', path, '--policy', file('other.yaml'))).code).toBe(1);
    expect((await gate('policy', 'test', join(path, 'deep', 'cases.yaml'), '--policy', file('policy.yaml'))).code).toBe(0);
    expect((await gate('policy', 'test', file('nowhere'))).code).toBe(2);
  });
});

describe('replay', () => {
  const who = { issuer: 'https://id', subject: 'ann', kind: 'human', name: 'ann', groups: ['engineering'] } as const;
  const events: AuditEntry['event'][] = [
    { kind: 'session.open', who: { ...who, groups: [...who.groups] }, target: 'shop', role: 'engineer', grant: 'g', expiresAt: '2026-05-04T18:00:00Z', command: 'exec', policy: '', relayVersion: '' },
    ...['select 1', 'create table x (a int)', 'create table x (a int)'].map((sql) => {
      return { kind: 'statement', connection: 1, statement: 1, protocol: 'simple', sql, kinds: [sql.startsWith('c') ? 'schema' : 'read'], effect: 'allow', rule: 'shop/engineer/allow', reason: '' } as const;
    }).map((event) => ({ ...event, kinds: [...event.kinds] })),
  ];
  const session: SessionSummary = { id: 's1', grant: 'g', target: 'shop', role: 'engineer', command: 'exec', principal: { ...who, groups: [] }, state: 'ended', startedAt: '2026-05-04T10:00:00Z', expiresAt: '2026-05-04T18:00:00Z', endedAt: '2026-05-04T12:00:00Z', connections: 1, statements: 3, refused: 0 };
  const relay: Partial<RelayClient> = {
    sessions: () => Promise.resolve([session]),
    async *entries() {
      for (const [index, event] of events.entries()) yield { v: 1, session: 's1', seq: index + 1, prev: '', time: '2026-05-04T11:00:00Z', event };
    },
  };
  const options = { from: new Date('2026-05-04T00:00:00Z'), to: new Date('2026-05-05T00:00:00Z') };

  test('what changes is listed once, with how often: exit 1', async () => {
    const { context, out } = relayContext(relay);
    await expect(runPolicyReplay(context, { ...options, policy: file('policy.yaml') })).rejects.toMatchObject({ exitCode: 1 });
    await new Promise(setImmediate);
    expect(out()).toMatch(/^Newly held\nWHO +TARGET\/ROLE +WAS +RULE +TIMES +STATEMENT\nann +shop\/engineer +allow +shop\/engineer\/definitions +2 +create table x \(a int\)\n\n3 statements of 1 sessions; 1 would be decided differently\.\n$/);
  });

  test('as JSON', async () => {
    const { context, out } = relayContext(relay, true);
    await expect(runPolicyReplay(context, { ...options, policy: file('policy.yaml') })).rejects.toMatchObject({ exitCode: 1 });
    await new Promise(setImmediate);
    expect(JSON.parse(out())).toMatchObject({ sessions: 1, statements: 3, changes: [{ count: 2, was: { effect: 'allow' }, now: { effect: 'hold', rule: 'shop/engineer/definitions' } }] });
  });

  test('nothing changes, or nothing is there: exit 0', async () => {
    await writeFile(file('same.yaml'), 'targets: { shop: { roles: { engineer: { groups: [engineering], allow: [read, schema] } } } }');
    for (const changes of [{ policy: file('same.yaml') }, { policy: file('policy.yaml'), target: 'other' }, { policy: file('policy.yaml'), from: new Date('2026-05-04T13:00:00Z') }]) {
      const { context, out } = relayContext(relay);
      await runPolicyReplay(context, { ...options, ...changes });
      await new Promise(setImmediate);
      expect(out()).toContain('nothing would change');
    }
  });

  test('more sessions than the relay lists cannot be judged', async () => {
    const { context } = relayContext({ ...relay, sessions: () => Promise.resolve(Array.from({ length: 1000 }, () => session)) });
    await expect(runPolicyReplay(context, { ...options, policy: file('policy.yaml') })).rejects.toMatchObject({ code: 'usage' });
    await expect(runPolicyReplay(context, { ...options, to: options.from, policy: file('policy.yaml') })).rejects.toBeInstanceOf(GateError);
  });

  test.each([['--from', 'yesterday'], ['--from', '2026-13-01'], ['--from', '-1h']])('%s %s: exit 2', async (...argv) => {
    expect((await gate('policy', 'replay', '--policy', file('policy.yaml'), ...argv)).code).toBe(2);
  });
});

test('presets and schema', async () => {
  expect((await gate('policy', 'presets')).out.split('\n').map((line) => line.split(' ')[0])).toEqual(['PRESET', 'read-only', 'engineer', 'break-glass', 'ci-migration', '']);
  expect((await gate('policy', 'presets', 'engineer')).out).toMatch(/^# Reads and writes of single rows/);
  expect((await gate('policy', 'presets', 'nope')).code).toBe(2);
  expect(JSON.parse((await gate('policy', 'presets', '--json')).out)).toMatchObject({ presets: [{ name: 'read-only', yaml: expect.any(String) as string }, {}, {}, {}] });
  expect(JSON.parse((await gate('policy', 'schema')).out)).toMatchObject({ title: 'Policy of gate', type: 'object' });
});

function relayContext(relay: Partial<RelayClient>, json = false): { context: Context; out: () => string } {
  const { streams, out } = openStreams();
  const context: Context = {
    io: createIo(streams, { json }),
    config: () => Promise.reject(new Error('not needed')),
    relay: () => Promise.resolve(relay as RelayClient),
    stopSignal: () => new AbortController().signal,
  };
  return { context, out };
}
