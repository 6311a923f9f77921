/** Sessions whose end a crash has cut in two: the record and the state agree again when the relay starts. */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { decisionsChain, type Event } from '../../src/audit/entry.ts';
import type { Grant, Session } from '../../src/grant/grant.ts';
import type { RelayConfig } from '../../src/relay/config.ts';
import type { SessionServices } from '../../src/relay/live-session.ts';
import { Sessions } from '../../src/relay/sessions.ts';
import { openDatabase } from '../../src/store/database.ts';
import { SqliteGrantStore } from '../../src/store/grants.ts';
import { openLog } from '../../src/store/log.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { collect, sessionClose, sessionOpen } from '../store/recorded-events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

const principal = { issuer: 'https://id.example.com', subject: 'u1', kind: 'human', name: 'Erin', groups: ['engineering'] } as const;
const grant: Grant = { id: 'g1', principal, target: 'prod-db', role: 'reader', createdAt: new Date(), expiresAt: new Date(Date.now() + 3_600_000) };
const session = (id: string): Session => ({ id, grant, command: 'connect', user: 'erin', verifier: 'v', startedAt: new Date() });

async function open(decided: readonly Event[] = [], done: Readonly<Record<string, readonly Event[]>> = {}) {
  const path = join(await temporaryDirectory(), 'state');
  const state = await openStateDirectory(path);
  const database = await openDatabase(state);
  // The life before ended without a word.
  const before = await openLog(join(path, 'log'));
  await before.record(decisionsChain, [{ kind: 'relay.start', relayVersion: '0.1.0', after: 'nothing' }, ...decided]);
  for (const [id, events] of Object.entries(done)) await before.record(id, events);
  await before.close();
  const recorder = await openLog(join(path, 'log'));
  onTestFinished(async () => {
    await recorder.close();
    await database.destroy();
    await state.close();
  });
  const store = new SqliteGrantStore(database);
  await store.saveGrant(grant);
  const config = { targets: new Map([['prod-db', { name: 'prod-db', database: 'app' }]]) } as unknown as RelayConfig;
  const services = { catalogOf: () => undefined } as unknown as SessionServices;
  const load = async () => {
    const sessions = await Sessions.load({ config, store, recorder, services, relayVersion: '0.1.0' });
    onTestFinished(() => sessions.stop(new Error('over') as never));
    return sessions;
  };
  return { recorder, store, load };
}

test('one that has ended on record does not come back, whatever the state knew', async () => {
  const { recorder, store, load } = await open();
  await store.saveSession(session('s_open'));
  await store.saveSession(session('s_killed'));
  await recorder.record('s_open', [sessionOpen]);
  await recorder.record('s_killed', [sessionOpen, { kind: 'session.close', reason: 'ended by dba' }]);
  const sessions = await load();
  expect((await sessions.forTunnel(principal, 's_open')).id).toBe('s_open');
  await expect(sessions.forTunnel(principal, 's_killed')).rejects.toMatchObject({ code: 'session-ended', message: 'session s_killed has ended: ended by dba' });
  expect((await store.loadSession('s_killed'))?.end?.reason).toBe('ended by dba');
});

test('one that has ended in the state, or never came to be, ends on record: else its keys would stay for ever', async () => {
  const { recorder, store, load } = await open();
  await store.saveSession(session('s_ended'));
  for (const id of ['s_ended', 's_unsaved', 's_closed']) await recorder.record(id, [sessionOpen]);
  await recorder.record('s_closed', [sessionClose]);
  await store.endSession('s_ended', { at: new Date(), reason: 'the grant expired', counts: recorder.counts('s_ended') });
  await load();
  expect(recorder.openSessions()).toEqual([]);
  const last = async (id: string) => (await collect(recorder.entries(id))).at(-1)?.event;
  expect(await last('s_ended')).toEqual({ kind: 'session.close', reason: 'the grant expired' });
  expect(await last('s_unsaved')).toEqual({ kind: 'session.close', reason: 'the relay stopped without warning' });
  expect(await collect(recorder.entries('s_closed'))).toHaveLength(2);
});

test('a revocation that was on record, and cut short, ends the grant and its sessions', async () => {
  const { store, load } = await open([{ kind: 'grant.revoke', grant: 'g1', by: { ...principal, name: 'Dario', groups: [] }, reason: 'wrong table' }], { s_open: [sessionOpen] });
  await store.saveSession(session('s_open'));
  const sessions = await load();
  expect((await store.loadGrant('g1'))?.revocation).toMatchObject({ by: { name: 'Dario' }, reason: 'wrong table' });
  await expect(sessions.forTunnel(principal, 's_open')).rejects.toMatchObject({ code: 'session-ended', message: expect.stringContaining('revoked by Dario') });
});

test('so does the end of a session by somebody', async () => {
  const kill: Event = { kind: 'session.kill', by: { ...principal, name: 'Dario', groups: [] }, reason: 'wrong database' };
  const { recorder, store, load } = await open([], { s_killed: [sessionOpen, kill], s_open: [sessionOpen] });
  for (const id of ['s_killed', 's_open']) await store.saveSession(session(id));
  const sessions = await load();
  await expect(sessions.forTunnel(principal, 's_killed')).rejects.toMatchObject({ message: 'session s_killed has ended: ended by Dario: wrong database' });
  expect((await sessions.forTunnel(principal, 's_open')).id).toBe('s_open');
  expect(recorder.openSessions()).toEqual(['s_open']);
});
