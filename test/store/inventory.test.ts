/** The inventory as the state has it: sums over a period, and its bounds. */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Grant, Session } from '../../src/grant/grant.ts';
import type { Principal } from '../../src/principal/principal.ts';
import { openDatabase } from '../../src/store/database.ts';
import { SqliteGrantStore } from '../../src/store/grants.ts';
import { inventoryMax, readInventory } from '../../src/store/inventory.ts';
import { SqlitePrincipalStore } from '../../src/store/principals.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const at = (day: number) => new Date(Date.UTC(2026, 4, day));
const erin: Principal = { issuer: 'https://id', subject: 'u1', kind: 'human', name: 'erin', groups: ['g'] };
const run: Principal = { issuer: 'https://ci', subject: 'repo:1', kind: 'workload', name: 'ci', groups: [], chain: [{ kind: 'workload', value: 'deploy', strength: 'verified', source: 'policy' }] };
const counts = (statements: number, refused = 0) => ({ connections: 1, statements, refused });

async function open() {
  const state = await openStateDirectory(join(await temporaryDirectory(), 'state'));
  const database = await openDatabase(state);
  onTestFinished(async () => {
    await database.destroy();
    await state.close();
  });
  const store = new SqliteGrantStore(database);
  const grant = async (id: string, principal: Principal, day: number, more: Partial<Grant> = {}) => {
    const one: Grant = { id, principal, target: 'shop', role: 'reader', createdAt: at(day), expiresAt: at(day + 1), ...more };
    await store.saveGrant(one);
    return one;
  };
  const session = async (id: string, of: Grant, day: number, end?: { day: number; statements: number; refused?: number }) => {
    const one: Session = { id, grant: of, command: 'exec', user: 'u', verifier: 'v', startedAt: at(day) };
    await store.saveSession(one);
    if (end !== undefined) await store.endSession(id, { at: at(end.day), reason: 'done', counts: counts(end.statements, end.refused) });
  };
  const read = async (since: Date) => readInventory(database, { since, now: at(30), countsOf: () => counts(5, 2) });
  return { database, store, grant, session, read, people: new SqlitePrincipalStore(database) };
}

test('who, from when to when, and what in the period', async () => {
  const { store, grant, session, read, people } = await open();
  const early = await grant('g1', erin, 1);
  await session('s1', early, 1, { day: 2, statements: 100 });
  const late = await grant('g2', { ...erin, name: 'Erin B', groups: ['g', 'h'] }, 10);
  await session('s2', late, 10, { day: 11, statements: 3, refused: 1 });
  await session('s3', late, 12);
  await store.addUsage('s2', { kinds: ['read'], rows: 2, requests: [] });
  await store.addUsage('s2', { kinds: ['read', 'schema'], rows: 40, requests: [] });
  await store.addUsage('s3', { kinds: ['unknown'], rows: 0, requests: [] });
  const other = await grant('g3', erin, 10, { role: 'writer' });
  await session('s4', other, 11, { day: 12, statements: 1, refused: 1 });
  await grant('g4', run, 12);
  await people.see({ ...erin, groups: ['new'] }, at(20));
  await people.see({ ...erin, subject: 'u2', name: 'only logged in' }, at(3));

  const { seen, isCut } = await read(at(5));
  expect(isCut).toBe(false);
  expect(seen.map(({ principal: { name, groups } }) => [name, groups])).toEqual([['erin', ['new']], ['ci', []], ['only logged in', ['g']]]);
  expect(seen[0]).toMatchObject({ lastLoginAt: at(20), firstGrantAt: at(1), firstUsedAt: at(1), lastUsedAt: at(30) });
  expect(seen[0]?.uses.toSorted((one, two) => (one.role < two.role ? -1 : 1))).toEqual([
    { target: 'shop', role: 'reader', grants: 1, sessions: 2, statements: 8, refused: 3, rows: 42, kinds: ['read', 'schema', 'unknown'], isPartial: false },
    { target: 'shop', role: 'writer', grants: 1, sessions: 1, statements: 1, refused: 1, rows: 0, kinds: [], isPartial: false },
  ]);
  expect(seen[1]).toEqual({ principal: run, firstGrantAt: at(12), uses: [{ target: 'shop', role: 'reader', grants: 1, sessions: 0, statements: 0, refused: 0, rows: 0, kinds: [], isPartial: false }] });
  expect(seen[2]).toEqual({ principal: { ...erin, subject: 'u2', name: 'only logged in' }, lastLoginAt: at(3), uses: [] });
  // The first session is from before kinds were kept.
  const [all] = (await read(at(1))).seen;
  expect(all?.uses.find(({ role }) => role === 'reader')).toMatchObject({ grants: 2, sessions: 3, statements: 108, isPartial: true });
});

test('live grants are those that are neither over nor revoked', async () => {
  const { store, grant } = await open();
  await grant('g1', erin, 1);
  await grant('g2', erin, 10);
  await grant('g3', erin, 10);
  await store.revokeGrant('g3', { at: at(10), by: erin });
  expect((await store.listGrants({ liveAt: at(10), limit: 10 })).map(({ id }) => id)).toEqual(['g2']);
  expect(await store.listGrants({ liveAt: at(11), limit: 10 })).toEqual([]);
});

test('no more principals than fit, whoever came by last', async () => {
  const { database, read } = await open();
  const row = (number: number) => {
    const subject = `u${number}`;
    return { issuer: 'https://id', subject, principal: JSON.stringify({ ...erin, subject, name: subject }), issued_at: new Date(at(1).getTime() + number * 1000).toISOString() };
  };
  const rows = Array.from({ length: inventoryMax }, (_, number) => row(number));
  for (let from = 0; from < rows.length; from += 1000) await database.insertInto('principals').values(rows.slice(from, from + 1000)).execute();
  expect((await read(at(1))).isCut).toBe(false);
  await database.insertInto('principals').values(row(inventoryMax)).execute();
  const { seen, isCut } = await read(at(1));
  expect([seen.length, isCut, seen[0]?.principal.name]).toEqual([inventoryMax, true, `u${inventoryMax}`]);
});
