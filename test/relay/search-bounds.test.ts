/** Which statements meet a query, entry by entry; and that a search ends at its bounds and says so. */
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { SessionQuery } from '../../src/api/session-query.ts';
import type { Event } from '../../src/audit/entry.ts';
import type { Session, SessionFilter } from '../../src/grant/grant.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { SessionSearch, searchesMax } from '../../src/relay/session-search.ts';
import type { Sessions } from '../../src/relay/sessions.ts';
import { StatementMatcher } from '../../src/relay/statement-matcher.ts';
import { openLog } from '../../src/store/log.ts';
import { connect, entriesOf, open, outcome, statement } from '../audit/events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

describe('of these statements', () => {
  const hold = (request: string, sql: string): Event => ({
    kind: 'hold',
    connection: 1,
    request,
    sql,
    kinds: ['write'],
    rule: 'prod/writer/careful',
    reason: 'it changes much',
    expiresAt: '2026-11-02T11:00:00.000Z',
  });
  const events: Event[] = [
    open,
    connect(1),
    statement(1, 'SELECT * FROM Orders', { tables: ['public.orders'] }),
    outcome(1),
    statement(2, 'select * from old.orders', { tables: ['old.orders', '?.x'] }),
    outcome(2, { state: 'error', sqlstate: '42P01' }),
    statement(3, 'drop table orders', { kinds: ['schema'], effect: 'deny', tables: ['public.orders'] }),
    hold('r_1', 'delete from orders'),
    statement(4, 'delete from orders', { kinds: ['write'], request: 'r_1', tables: ['public.orders'] }),
    outcome(4, { state: 'error', sqlstate: '57014' }),
    hold('r_2', 'delete from users'),
    statement(5, 'delete from users', { kinds: ['write'], request: 'r_2', effect: 'deny' }),
    hold('r_3', 'delete from accounts'),
    statement(6, 'SELECT 1', { request: 'r_0' }),
  ];
  const count = (query: SessionQuery) => {
    const counter = new StatementMatcher(query).counter();
    for (const entry of entriesOf(events)) counter.add(entry);
    return counter.finish();
  };

  test.each<[SessionQuery, number]>([
    [{ text: 'orders' }, 4],
    [{ text: 'FROM orders' }, 2],
    [{ text: 'delete' }, 3],
    [{ text: 'delete from accounts' }, 1],
    [{ kind: 'write' }, 3],
    [{ kind: 'unknown' }, 0],
    [{ effect: 'allow' }, 4],
    [{ effect: 'deny' }, 2],
    [{ effect: 'hold' }, 3],
    [{ effect: 'hold', text: 'accounts' }, 1],
    [{ effect: 'hold', sqlstate: '57014' }, 1],
    [{ sqlstate: '42P01' }, 1],
    [{ sqlstate: '42P01', text: 'delete' }, 0],
    [{ table: 'public.orders' }, 3],
    [{ table: '*.orders' }, 3 + 1],
    [{ table: 'old.*' }, 1],
    [{ table: '*.x' }, 1],
    [{ table: 'other.x' }, 1],
    [{ table: 'other.orders' }, 0],
    [{ table: '*' }, 4],
    [{ table: '*.*', effect: 'deny' }, 1],
    [{ kind: 'read', until: '2000-01-01T00:00:00Z' }, 0],
  ])('%j: %i', (query, expected) => {
    expect(count(query)).toBe(expected);
  });
});

describe('a search', () => {
  const policy = parsePolicy('auditors: [audit]\ntargets: {}\n', 'policy.yaml');
  const auditor = { issuer: 'https://id.example.com', subject: 'a', kind: 'human' as const, name: 'Audrey', groups: ['audit'] };

  async function searchOver(number: number, limits: { searchedMax?: number; searchMsMax?: number }) {
    const log = await openLog(join(await temporaryDirectory(), 'log'));
    onTestFinished(() => log.close());
    const stored = Array.from({ length: number }, (_, index) => sessionOf(number - index));
    await Promise.all(stored.map(({ id }) => log.record(id, [open, connect(1), statement(1, 'select 1')])));
    const sessions = {
      stored: ({ after, limit }: SessionFilter) => {
        const from = after === undefined ? 0 : stored.findIndex(({ id }) => id === after.id) + 1;
        return Promise.resolve(stored.slice(from, from + limit));
      },
      summarize: ({ id }: Session) => ({ id }),
    } as unknown as Sessions;
    return new SessionSearch({ sessions, recorder: log, policy: () => policy, limits });
  }

  const gone = new AbortController().signal;

  test('over as many sessions as it may look at is whole; over one more it is cut, and says so', async () => {
    const search = await searchOver(205, { searchedMax: 204 });
    expect(await search.find(auditor, { text: 'select', limit: 1000 }, gone)).toMatchObject({ isCut: true, sessions: { length: 204 } });
    const whole = await searchOver(5, { searchedMax: 5 });
    const list = await whole.find(auditor, { text: 'select', limit: 1000 }, gone);
    expect([list.sessions.length, list.isCut]).toEqual([5, undefined]);
    expect(await whole.find(auditor, { text: 'select', limit: 3 }, gone)).toEqual({ sessions: list.sessions.slice(0, 3) });
  });

  test('ends when its time is over, or when nobody waits for it', async () => {
    const search = await searchOver(5, { searchMsMax: 0 });
    expect(await search.find(auditor, { text: 'select', limit: 10 }, gone)).toEqual({ sessions: [], isCut: true });
    const other = await searchOver(5, {});
    expect(await other.find(auditor, { text: 'select', limit: 10 }, AbortSignal.abort())).toMatchObject({ isCut: true });
  });

  test('waits for no other: one too many at a time is refused', async () => {
    const search = await searchOver(5, {});
    const find = () => search.find(auditor, { text: 'select', limit: 10 }, gone).then(({ sessions }) => sessions.length, (error: { code: string }) => error.code);
    const results = await Promise.all(Array.from({ length: searchesMax + 1 }, find));
    expect(results).toEqual([...Array.from({ length: searchesMax }, () => 5), 'too-many']);
    expect(await find()).toBe(5);
  });

  test('that cannot be recorded is refused', async () => {
    const log = await openLog(join(await temporaryDirectory(), 'log'));
    await log.close();
    const search = new SessionSearch({ sessions: {} as Sessions, recorder: log, policy: () => policy });
    await expect(search.find(auditor, { text: 'select', limit: 10 }, gone)).rejects.toMatchObject({ code: 'record-unavailable' });
  });

  function sessionOf(number: number): Session {
    const at = new Date(number * 1000);
    const grant = { id: 'g', principal: auditor, target: 't', role: 'r', createdAt: at, expiresAt: at };
    return { id: `s_${number}`, grant, command: 'connect', user: 'u', verifier: 'v', startedAt: at };
  }
});
