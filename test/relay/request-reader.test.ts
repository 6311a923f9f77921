/** Who sees what of a held statement: literals are for those who take part and for auditors, whose reading is on record. */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { decisionsChain } from '../../src/audit/entry.ts';
import type { AccessRequest, HeldStatement } from '../../src/grant/request.ts';
import type { RequestStore } from '../../src/grant/request-store.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { RequestReader } from '../../src/relay/request-reader.ts';
import { openLog } from '../../src/store/log.ts';
import { collect } from '../store/recorded-events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

const policy = parsePolicy(
  `
auditors: [audit]
administrators: [platform]
approvers: { leads: { groups: [leads] } }
targets: { db: { roles: { r: { groups: [engineering], allow: [read] } } } }
`,
  'policy.yaml',
);
const person = (name: string, group: string) => ({ issuer: 'https://id.example.com', subject: name, kind: 'human', name, groups: [group] }) as const;
const statement: HeldStatement = {
  session: 's1', connection: 1, grant: 'g1', sql: `delete from t where card = '4111' /* why */ and n = $1`, parameters: ['4222'], fingerprint: 'f', parameterHash: 'p', facts: [], transaction: 'I', isWaiting: true,
};
const at = new Date('2026-11-02T10:00:00.000Z');
const request: AccessRequest = {
  id: 'r1', kind: 'statement', requester: person('erin', 'engineering'), target: 'db', role: 'r', rule: 'db/r/x', approval: { by: ['leads'], count: 1, denials: 1, withinSeconds: 60 }, createdAt: at, expiresAt: at, state: 'pending', votes: [], statement,
};

async function open() {
  const recorder = await openLog(join(await temporaryDirectory(), 'log'));
  onTestFinished(() => recorder.close());
  const store = { loadApproval: async () => undefined, listRequests: async () => [request] } as unknown as RequestStore;
  const reader = new RequestReader({ store, recorder, policy: () => policy });
  return { reader, readings: () => collect(recorder.entries(decisionsChain)) };
}

test.each([
  { who: person('erin', 'engineering'), isWhole: true, readings: 0 },
  { who: person('lea', 'leads'), isWhole: true, readings: 0 },
  { who: person('aud', 'audit'), isWhole: true, readings: 1 },
  { who: person('adm', 'platform'), isWhole: false, readings: 0 },
])('$who.name', async ({ who, isWhole, readings }) => {
  const opened = await open();
  const { statement: shown } = await opened.reader.describe(who, request);
  if (isWhole) expect(shown).toEqual(statement);
  else expect(shown).toEqual({ ...statement, sql: 'delete from t where card = ? and n = $1', parameters: [], fingerprint: '', parameterHash: '', isClosed: true });
  const entries = await opened.readings();
  expect(entries).toHaveLength(readings);
  if (readings > 0) expect(entries[0]?.event).toMatchObject({ kind: 'read', what: 'decisions', session: 's1', isOpened: true, by: { name: 'aud' } });
});

test('a list shows the shape to all who take no part', async () => {
  const { reader, readings } = await open();
  const listed = async (who: ReturnType<typeof person>) => (await reader.list(who, { isMine: false, isToApprove: false, limit: 10 })).map(({ sql }) => sql);
  expect((await listed(person('lea', 'leads')))[0]).toBe(statement.sql);
  expect((await listed(person('aud', 'audit')))[0]).toBe('delete from t where card = ? and n = $1');
  expect((await listed(person('adm', 'platform')))[0]).toBe('delete from t where card = ? and n = $1');
  expect(await readings()).toEqual([]);
});
