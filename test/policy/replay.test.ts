/** Recorded history against a candidate: what counts as a change, and what is left alone. */
import { beforeAll, describe, expect, test } from 'vitest';
import type { AuditEntry, Event, EventOf } from '../../src/audit/entry.ts';
import { sessionNames } from '../../src/policy/catalog-file.ts';
import { parsePolicy, type Policy } from '../../src/policy/policy.ts';
import { isChange, SessionReplay, type ReplayedStatement } from '../../src/policy/replay.ts';
import { loadParser, type ParsedSql } from '../../src/sql/parser.ts';
import { person, policyOf } from './some.ts';

let parse: (sql: string) => ParsedSql;
beforeAll(async () => {
  parse = await loadParser();
});

const open: Event = {
  kind: 'session.open',
  who: { ...person('alice', 'g'), groups: ['g'] },
  target: 'shop',
  role: 'r',
  grant: 'g1',
  expiresAt: '2026-05-04T18:00:00Z',
  command: 'connect',
  policy: '',
  relayVersion: '',
};

function statement(sql: string, changes: Partial<EventOf<'statement'>> = {}): Event {
  return {
    kind: 'statement',
    connection: 1,
    statement: 1,
    protocol: 'simple',
    sql,
    kinds: ['read'],
    effect: 'allow',
    rule: 'shop/r/allow',
    reason: '',
    ...changes,
  };
}

function replay(policy: Policy, events: readonly (Event | [string, Event])[]): ReplayedStatement[] {
  const session = new SessionReplay({
    policy,
    parse,
    names: sessionNames(undefined),
    from: new Date('2026-05-04T10:00:00Z'),
    to: new Date('2026-05-04T12:00:00Z'),
  });
  return [open, ...events].flatMap((item, index) => {
    const [time, event] = Array.isArray(item) ? item : ['2026-05-04T11:00:00Z', item];
    const entry: AuditEntry = { v: 1, session: 's1', seq: index + 1, prev: '', time, event };
    return session.next(entry) ?? [];
  });
}

const changesOf = (replayed: readonly ReplayedStatement[]) => replayed.map((one) => (isChange(one) ? `${one.was.effect} → ${one.now.effect}` : one.now.effect));

describe('what would be decided differently', () => {
  const hold = '{ name: h, effect: hold, kinds: [write], approval: { by: [dba] } }';
  test.each<[string, Event, string]>([
    ['allow: [read]', statement('select 1'), 'allow'],
    ['allow: [write]', statement('select 1'), 'allow → deny'],
    ['allow: [read, write]', statement('delete from t', { kinds: ['write'], effect: 'deny' }), 'deny → allow'],
    [`allow: [read], rules: [${hold}]`, statement('delete from t', { kinds: ['write'] }), 'allow → hold'],
    [`allow: [read], rules: [${hold}]`, statement('delete from t', { kinds: ['write'], request: 'q1' }), 'hold'],
    [`allow: [read], rules: [${hold}]`, statement('delete from t', { kinds: ['write'], request: 'q1', effect: 'deny' }), 'hold'],
    ['allow: [read, write]', statement('delete from t', { kinds: ['write'], request: 'q1' }), 'hold → allow'],
    ['allow: [read]', statement('select 1; drop table x', { kinds: ['read', 'schema'] }), 'allow → deny'],
    ['allow: [read, admin]', statement("alter role x password '…'", { kinds: ['admin'], redacted: true }), 'allow'],
    ['allow: [read]', statement('this is no SQL but was cut at a secret', { kinds: ['read'], redacted: true }), 'allow'],
  ])('under { %s }: %j is %s', (fields, event, expected) => {
    expect(changesOf(replay(policyOf(fields), [event]))).toEqual([expected]);
  });

  test('who, what and by which rule stand in the answer', () => {
    const [one] = replay(policyOf('allow: [write]'), [statement('select 1')]);
    expect(one).toMatchObject({
      session: 's1',
      seq: 2,
      who: 'alice',
      target: 'shop',
      role: 'r',
      sql: 'select 1',
      was: { effect: 'allow', rule: 'shop/r/allow' },
      now: { effect: 'deny', rule: 'shop/r/allow', reason: 'the role r may not run read statements on shop' },
    });
  });

  test('columns that would be shown are a change', () => {
    const masks = (columns: string) => `targets:\n  shop:\n    masks: { rules: [{ name: m, columns: [${columns}], mask: redact }, { name: rest, columns: ["*.*.*"], mask: clear }] }\n    roles:\n      r: { groups: [g], allow: [read] }\n`;
    const masked = ['public.c.card', 'public.c.ssn'].map((column) => ({ column, rule: 'shop/masks/m', kind: 'redact' }));
    const under = (columns: string) => replay(parsePolicy(masks(columns), 'policy.yaml'), [statement('select * from c', { masked })]);
    expect(under('public.c.card, public.c.ssn').map(isChange)).toEqual([false]);
    const [one] = under('public.c.ssn');
    expect(one?.masks).toEqual({ was: ['public.c.card', 'public.c.ssn'], shown: ['public.c.card'] });
    expect(one !== undefined && isChange(one)).toBe(true);
  });

  test('a role that is gone denies everything', () => {
    const other = { ...open, role: 'gone' } as Event;
    expect(replay(policyOf('allow: [read]'), [other, statement('select 1')])[0]?.now).toMatchObject({ effect: 'deny', rule: 'shop/gone/groups' });
  });
});

describe('what is left alone', () => {
  test.each(['parse', 'pinned-settings', 'execute', 'grant-expired'])('refusals before any policy: %s', (rule) => {
    expect(replay(policyOf('allow: [read, write]'), [statement('selekt', { effect: 'deny', rule, kinds: [] })])).toEqual([]);
  });

  test('what lies outside the time, to the millisecond', () => {
    const at = (time: string): [string, Event] => [time, statement('select 1')];
    const replayed = replay(policyOf('allow: [read]'), [
      at('2026-05-04T09:59:59.999Z'),
      at('2026-05-04T10:00:00.000Z'),
      at('2026-05-04T11:59:59.999Z'),
      at('2026-05-04T12:00:00.000Z'),
    ]);
    expect(replayed.map(({ time }) => time)).toEqual(['2026-05-04T10:00:00.000Z', '2026-05-04T11:59:59.999Z']);
  });
});

describe('prepared statements', () => {
  test('EXECUTE is what was prepared before, also before the time that is asked for', () => {
    const events: (Event | [string, Event])[] = [
      ['2026-05-04T09:00:00Z', statement('prepare p as delete from t', { kinds: ['write'] })],
      statement('execute p', { kinds: ['read', 'write'] }),
      statement('prepare q as select 1; execute q'),
    ];
    expect(changesOf(replay(policyOf('allow: [read]'), events))).toEqual(['allow → deny', 'allow']);
    expect(changesOf(replay(policyOf('allow: [read, write]'), events))).toEqual(['allow', 'allow']);
  });

  test('what was prepared through the protocol counts by its recorded kinds', () => {
    const events = [statement('execute by_protocol', { kinds: ['read', 'write'] })];
    expect(changesOf(replay(policyOf('allow: [read, write]'), events))).toEqual(['allow']);
    expect(changesOf(replay(policyOf('allow: [read]'), events))).toEqual(['allow → deny']);
  });

  test('names are those of their connection', () => {
    const events = [
      statement('prepare p as delete from t', { kinds: ['write'] }),
      statement('execute p', { kinds: ['read'], connection: 2 }),
    ];
    expect(changesOf(replay(policyOf('allow: [read]'), events))).toEqual(['allow → deny', 'allow']);
  });
});
