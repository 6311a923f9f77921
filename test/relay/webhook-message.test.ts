import { describe, expect, test } from 'vitest';
import { NotificationBody } from '../../src/api/notification.ts';
import type { AccessRequest } from '../../src/grant/request.ts';
import {
  notifiedLinkLengthMax,
  notifiedLinksMax,
  notifiedParameterLengthMax,
  notifiedParametersMax,
  notifiedSqlLengthMax,
  notifiedVotesMax,
  webhookMessage,
} from '../../src/relay/webhook-message.ts';
import type { Link } from '../../src/principal/principal.ts';
import { heldStatement, machine, notice } from './notices.ts';

function render(more: Partial<AccessRequest> = {}, included = { includeSql: true, includeParameters: false }): NotificationBody {
  const json: unknown = JSON.parse(webhookMessage(notice('r1', more), 'd1', included));
  expect(NotificationBody.parse(json)).toEqual(json);
  return json as NotificationBody;
}

describe('the SQL', () => {
  const sqlOf = (sql: string) => render({ statement: { ...heldStatement, sql } }).request.statement;

  test('is whole up to the limit, and cut and marked past it', () => {
    expect(sqlOf('x'.repeat(notifiedSqlLengthMax))).toMatchObject({ sql: 'x'.repeat(notifiedSqlLengthMax) });
    expect(sqlOf('x'.repeat(notifiedSqlLengthMax))).not.toHaveProperty('sqlCut');
    expect(sqlOf('x'.repeat(notifiedSqlLengthMax + 1))).toMatchObject({ sql: 'x'.repeat(notifiedSqlLengthMax), sqlCut: true });
  });

  test('is never cut within a character', () => {
    const pairs = `x${'\u{1F600}'.repeat(notifiedSqlLengthMax)}`;
    expect(sqlOf(pairs)?.sql).toBe(pairs.slice(0, notifiedSqlLengthMax - 1));
  });

  test('is left out with everything that quotes it, where the sink says so', () => {
    const text = JSON.stringify(render({}, { includeSql: false, includeParameters: false }));
    expect(text).not.toContain('delete from');
    expect(text).toContain('"commands":["DELETE","SELECT"]');
  });
});

describe('whoever stands behind a machine', () => {
  test('is sent with how sure it is; a human has no chain', () => {
    expect(render({ requester: machine('claimed') }).request.requester.chain).toEqual(machine('claimed').chain);
    expect(render().request.requester).not.toHaveProperty('chain');
  });

  test('stays in a chain that is cut, past its limit', () => {
    const [step] = machine('verified').chain as [Link];
    const human: Link = { kind: 'human', value: 'e'.repeat(notifiedLinkLengthMax + 1), strength: 'claimed', source: 'client' };
    const of = (count: number) => render({ requester: { ...machine('verified'), chain: [...Array<Link>(count).fill(step), human] } }).request.requester.chain;
    for (const count of [notifiedLinksMax - 1, notifiedLinksMax]) {
      expect(of(count)).toHaveLength(notifiedLinksMax);
      expect(of(count)?.at(-1)).toEqual({ ...human, value: 'e'.repeat(notifiedLinkLengthMax) });
    }
  });
});

describe('parameters', () => {
  const parametersOf = (parameters: (typeof heldStatement)['parameters']) =>
    render({ statement: { ...heldStatement, parameters } }, { includeSql: true, includeParameters: true }).request.statement;

  test('are not sent unless the sink asks', () => {
    expect(render().request.statement).not.toHaveProperty('parameters');
    expect(parametersOf(heldStatement.parameters)?.parameters).toEqual([...heldStatement.parameters]);
  });

  test('are cut past the limit of one, and of all', () => {
    const fitting = 'p'.repeat(notifiedParameterLengthMax);
    expect(parametersOf([fitting, `${fitting}q`])?.parameters).toEqual([fitting, { text: fitting, cut: true }]);
    const base64 = Buffer.alloc(1000).toString('base64');
    expect(parametersOf([{ base64 }, { bytes: 7, sha256: 'x' }])?.parameters).toEqual([{ bytes: 1000 }, { bytes: 7 }]);
    expect(parametersOf(Array<string>(notifiedParametersMax).fill('p'))).not.toHaveProperty('parametersCut');
    const many = parametersOf(Array<string>(notifiedParametersMax + 1).fill('p'));
    expect(many?.parameters).toHaveLength(notifiedParametersMax);
    expect(many).toHaveProperty('parametersCut', true);
  });
});

test('votes say who, how and why, the last of them', () => {
  const by = { issuer: 'https://id.example.com', subject: 'u2', kind: 'human', name: 'dora', groups: ['dba'] } as const;
  const at = new Date('2026-11-02T10:01:00.000Z');
  const votes = Array.from({ length: notifiedVotesMax + 1 }, (_, index) => ({ by, decision: 'deny' as const, reason: `no ${index}`, at }));
  const sent = render({ votes, endReason: 'denied' }).request;
  expect(sent.endReason).toBe('denied');
  expect(sent.votes).toHaveLength(notifiedVotesMax);
  expect(sent.votes.at(-1)).toEqual({
    by: { name: 'dora', subject: 'u2', issuer: 'https://id.example.com', kind: 'human' },
    decision: 'deny',
    reason: `no ${notifiedVotesMax}`,
    at: '2026-11-02T10:01:00.000Z',
  });
});

test('a grant has its duration and no statement', () => {
  const { statement: _, ...request } = notice('r1', { kind: 'grant', durationSeconds: 3600 }).request;
  const text = webhookMessage({ kind: 'created', at: new Date(), request }, 'd1', { includeSql: true, includeParameters: true });
  const sent = NotificationBody.parse(JSON.parse(text)).request;
  expect(sent).toMatchObject({ kind: 'grant', durationSeconds: 3600 });
  expect(sent).not.toHaveProperty('statement');
});
