/** gate evidence on a real relay: the tables say what happened, policies come with their changes, and no cell is a formula. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatCsv } from '../../src/cli/commands/evidence/csv.ts';
import { unifiedDiff } from '../../src/cli/commands/evidence/line-diff.ts';
import { EvidenceTables } from '../../src/cli/commands/evidence/tables.ts';
import type { Event } from '../../src/audit/entry.ts';
import { eventually } from '../relay/fixture.ts';
import { auditPolicy, startAuditStage, type AuditStage } from './audit-stage.ts';

describe('a collection of evidence', () => {
  let stage: AuditStage;
  let scratch: string;
  let session: string;
  const changed = auditPolicy.replace('dba: { groups: [dba]', '# a second thought\n      dba: { groups: [dba]');

  beforeAll(async () => {
    [stage, scratch] = await Promise.all([startAuditStage(), mkdtemp(join(tmpdir(), 'gate-evidence-'))]);
    session = await stage.work(['select 1', `create table nope (id int)`]);
    await writeFile(join(stage.fixture.directory, 'policy.yaml'), changed);
    const digest = createHash('sha256').update(changed).digest('hex');
    const relay = await stage.fixture.clientFor('operator');
    await eventually('the policy is in force', () => relay.policyText(digest).then(() => true, () => false));
    await stage.run('operator', ['audit', 'hold', session, '--reason', '=cmd()']);
    await stage.run('operator', ['audit', 'release', session, '--reason', 'over']);
    for (const one of ['dba', 'dba2']) await stage.run(one, ['audit', 'shred', session, '--reason', 'asked for']);
  });
  afterAll(async () => {
    await stage?.fixture[Symbol.asyncDispose]();
    await rm(scratch, { recursive: true, force: true });
  });

  const read = (...names: string[]) => readFile(join(scratch, ...names), 'utf8');

  test('has all that is asked for, out of a bundle that is there with it', async () => {
    const output = join(scratch, 'all');
    const { code, out } = await stage.run('operator', ['evidence', '--output', output, '--json']);
    expect(code).toBe(0);
    expect((await readdir(output)).toSorted()).toEqual([
      'README.txt', 'bundle', 'denials.csv', 'grants.csv', 'keys.csv', 'policies', 'reads.csv', 'requests.csv', 'sessions.csv', 'summary.json', 'verification.txt',
    ]);
    const [head = '', row = ''] = (await read('all', 'sessions.csv')).split('\r\n');
    const cells = Object.fromEntries(head.split(',').map((name, index) => [name, row.split(',')[index]]));
    expect(cells).toMatchObject({
      session, person: expect.stringMatching(/^engineer </), target: 'prod-db', role: 'engineer', reason: 'testing', statements: '2', refused: '1', shredded: 'content results',
    });
    expect(await read('all', 'grants.csv')).toContain('testing');
    expect(await read('all', 'denials.csv')).toMatch(/statement,engineer .*prod-db\/engineer/);
    expect(await read('all', 'reads.csv')).toContain('bundle');
    const keys = await read('all', 'keys.csv');
    expect(keys).toContain("'=cmd()");
    expect(keys).toMatch(/key\.shred,.*dba .*; dba2 /);
    expect(JSON.parse(await read('all', 'summary.json'))).toEqual(JSON.parse(out));
    expect(JSON.parse(out)).toMatchObject({ v: 1, sessions: 1, grants: 1, denials: 1, policies: 2, missingPolicies: 0, keys: 4, sealed: { found: 2, named: 2 } });
  });

  test('has each version of the policy under its digest, and what changed', async () => {
    const names = (await readdir(join(scratch, 'all/policies'))).toSorted();
    const [first, second] = [auditPolicy, changed].map((text) => createHash('sha256').update(text).digest('hex').slice(0, 12));
    expect(names).toEqual([`1-${first}.yaml`, `2-${second}.diff`, `2-${second}.yaml`]);
    expect(await read('all/policies', `2-${second}.yaml`)).toBe(changed);
    expect(await read('all/policies', `2-${second}.diff`)).toContain('\n+      # a second thought\n');
  });

  test('is of a period, and goes into a new directory, for auditors', async () => {
    const output = join(scratch, 'later');
    const { code, out } = await stage.run('operator', ['evidence', '--output', output, '--since', '2100-01-01', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ since: '2100-01-01T00:00:00.000Z', entries: 0, sessions: 0, policies: 1 });
    expect(await stage.run('operator', ['evidence', '--output', output])).toMatchObject({ code: 'usage' });
    expect(await stage.run('engineer', ['evidence', '--output', join(scratch, 'mine')])).toMatchObject({ code: 'denied' });
  });
});

test.each([
  ['=1+1', "'=1+1"], ['+1', "'+1"], ['-1', "'-1"], ['@SUM(A1)', "'@SUM(A1)"], [' =1', "' =1"], ['\t=1', "'\t=1"], ['＝1', "'＝1"],
  ['a=b', 'a=b'], ['a,b', '"a,b"'], ['say "x"', '"say ""x"""'], ['two\nlines', '"two\nlines"'], [-5, '-5'], [undefined, ''], [true, 'true'],
])('the cell %j is written as %j', (cell, text) => {
  expect(formatCsv(['head'], [[cell]])).toBe(`head\r\n${text}\r\n`);
});

test.each([
  ['the same', 'a\nb\n', 'a\nb\n', ''],
  ['one line', 'a\nb\nc\n', 'a\nX\nc\n', '--- x\n+++ y\n@@ -1,3 +1,3 @@\n a\n-b\n+X\n c\n'],
  ['from nothing', '', 'a\n', '--- x\n+++ y\n@@ -0,0 +1,1 @@\n+a\n'],
  ['two places', '1\n2\n3\n4\n5\n6\n7\n8\n9\n', 'I\n2\n3\n4\n5\n6\n7\n8\nIX\n', '--- x\n+++ y\n@@ -1,4 +1,4 @@\n-1\n+I\n 2\n 3\n 4\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+IX\n'],
])('the difference of %s', (_what, before, after, diff) => {
  expect(unifiedDiff(before, after, ['x', 'y'])).toBe(diff);
});

test('a session names who approved its grant, its masks, and how they were kept', () => {
  const who = (name: string) => ({ issuer: 'https://i', subject: `sub-${name}`, kind: 'human' as const, name, groups: [] });
  const common = { target: 'prod', role: 'dba', expiresAt: '2026-01-01T02:00:00.000Z' };
  const events: [string, Event][] = [
    ['decisions', { kind: 'request', request: 'r1', of: 'grant', who: who('ann'), reason: 'help', rule: 'x', by: ['dbas'], count: 1, ...common }],
    ['decisions', { kind: 'vote', request: 'r1', by: who('bob'), decision: 'approve', reason: 'fine' }],
    ['decisions', { kind: 'grant', grant: 'g1', who: who('ann'), request: 'r1', policy: 'p', ...common }],
    ['s1', { kind: 'session.open', who: who('ann'), grant: 'g1', command: 'exec', policy: 'p', relayVersion: '1', ...common }],
    ['s1', { kind: 'connection.open', connection: 1, clientAddress: '::1:1', masking: { level: 'airtight', rules: 'x' } }],
    ['s1', {
      kind: 'statement', connection: 1, statement: 1, protocol: 'simple', sql: 's', kinds: ['read'], effect: 'allow', rule: 'r', reason: 'x',
      masked: [{ column: 'public.people.email', rule: 'm', kind: 'hash' }],
    }],
    ['s1', { kind: 'session.kill', by: who('cy') }],
  ];
  const tables = new EvidenceTables({});
  for (const [index, [session, event]] of events.entries()) {
    tables.take(index, { v: 1, session, seq: 1, prev: '', time: '2026-01-01T01:00:00.000Z', event });
  }
  const { head, rows } = tables.tables.sessions;
  expect(Object.fromEntries(head.map((name, index) => [name, rows[0]?.[index]]))).toMatchObject({
    person: 'ann <https://i sub-ann>', 'approved by': 'bob <https://i sub-bob>: fine', 'ended by': 'cy <https://i sub-cy>',
    'masking level': 'airtight', 'masked columns': 'public.people.email', statements: 1, refused: 0,
  });
});
