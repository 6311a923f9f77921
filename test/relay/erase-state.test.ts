/** What the state knows of held statements goes with the keys of their session, all of it and nothing else. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { AccessRequest, HeldStatement } from '../../src/grant/request.ts';
import { eraseStateOf } from '../../src/relay/erase-state.ts';
import { openDatabase } from '../../src/store/database.ts';
import { openLog } from '../../src/store/log.ts';
import { loadLogSecrets } from '../../src/store/log-secrets.ts';
import { Outbox } from '../../src/store/outbox.ts';
import { SqliteRequestStore } from '../../src/store/requests.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { sessionClose, sessionOpen } from '../store/recorded-events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

const requester = { issuer: 'https://id.example.com', subject: 'u1', kind: 'human', name: 'Erin', groups: ['engineering'] } as const;
const hash = 'abad1dea'.repeat(8);

function held(id: string, session: string): AccessRequest {
  const statement: HeldStatement = {
    session, connection: 1, grant: 'g1', sql: `delete from t where name = '${id}'`, parameters: [id], fingerprint: hash, parameterHash: hash, facts: [], transaction: 'I', isWaiting: false,
  };
  const approval = { by: ['dbas'], count: 1, denials: 1, withinSeconds: 60 };
  const at = new Date();
  return { id, kind: 'statement', requester, target: 'prod-db', role: 'reader', approval, rule: 'r', createdAt: at, expiresAt: at, state: 'pending', votes: [], statement };
}

async function open() {
  const path = join(await temporaryDirectory(), 'state');
  const state = await openStateDirectory(path);
  const database = await openDatabase(state);
  const secrets = await loadLogSecrets(join(path, 'log'));
  const log = await openLog(join(path, 'log'), { secrets });
  onTestFinished(async () => {
    await log.close();
    await database.destroy();
    await state.close();
  });
  const requests = new SqliteRequestStore(database, secrets.columns);
  const outbox = new Outbox(database, secrets.columns);
  log.keys.onShred = eraseStateOf(log, { database, requests, outbox });
  return { path, database, log, requests, outbox };
}

test('also of a request that a crash kept out of the record of its session; that of another session stays', async () => {
  const { path, database, log, requests, outbox } = await open();
  const hold = { connection: 1, sql: 'x', kinds: ['write'], rule: 'r', reason: 'held', expiresAt: '' };
  // Somebody asked for the same again in another session: its hold is on the request of the first one.
  await log.record('s1', [sessionOpen, { ...hold, kind: 'hold', request: 'r_of_s2' }, sessionClose]);
  await log.record('s2', [sessionOpen, sessionClose]);
  await requests.saveRequest(held('r_unheld', 's1'));
  await requests.saveRequest(held('r_of_s2', 's2'));
  const allowed = { request: 'r_unheld', principal: requester, target: 'prod-db', role: 'reader', fingerprint: hash, parameterHash: hash, usesLeft: 1, expiresAt: new Date(Date.now() + 60_000) };
  const before = (await requests.loadRequest('r_unheld')) as AccessRequest;
  await requests.replaceRequest(before, { ...before, state: 'approved' }, { approval: allowed });
  await log.keys.shred('s1', ['content', 'results']);
  expect((await requests.loadRequest('r_unheld'))?.statement).toMatchObject({ sql: '(shredded)', parameters: [], fingerprint: '', parameterHash: '' });
  expect(await requests.loadApproval('r_unheld')).toBeUndefined();
  expect((await requests.loadRequest('r_of_s2'))?.statement).toMatchObject({ sql: "delete from t where name = 'r_of_s2'", parameters: ['r_of_s2'] });
  await outbox.add([{ delivery: 'd', sink: 'one', event: 'created', request: 'r_of_s2', body: 'body' }], new Date());
  await log.keys.shred('s2', ['content', 'results']);
  // What waited for its sink would have kept the text, had it been given up later.
  expect(await outbox.next('one')).toBeUndefined();
  expect(await database.selectFrom('outbox').select(['state', 'body']).execute()).toEqual([{ state: 'failed', body: '' }]);
  for (const name of await readdir(path)) {
    if (!/^gate\.db(?:-wal)?$/.test(name)) continue;
    expect((await readFile(join(path, name))).includes(hash), name).toBe(false);
  }
});
