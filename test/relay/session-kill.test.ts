/** Ending a session early: who may, what its client is told, and what stands in its record. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await startRelayFixture({
    policy: fixturePolicy.replace('auditors: [audit]', 'auditors: [audit]\nadministrators: [dba]\napprovers: { peers: { groups: [engineering] } }').replace(
      '      dba: {',
      '      checked: { groups: [operations], allow: [read], maxDuration: 1h, approval: { by: [peers] } }\n      dba: {',
    ),
  });
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

test('its owner: the client is told who and why, and the record has both ends', async () => {
  const tunnel = await fixture.connect();
  const { session } = tunnel;
  const pg = await tunnel.client();
  const failed = pg.query('select pg_sleep(30)').catch((error: unknown) => error);
  const relay = await fixture.clientFor('engineer');
  await eventually('the statement runs', async () => (await relay.session(session.id)).statements === 1);
  const killed = await relay.killSession(session.id.slice(0, -1), 'wrong one');
  expect(killed).toMatchObject({ id: session.id, state: 'ended', endReason: 'ended by engineer: wrong one' });
  expect(await failed).toMatchObject({ code: '57P01', message: expect.stringContaining('ended by engineer: wrong one') });
  await eventually('the port says so', () => tunnel.broken.some((line) => line.includes('ended by engineer: wrong one')));
  const events = (await fixture.entries(session.id)).map(({ event }) => event);
  expect(events.find(({ kind }) => kind === 'session.kill')).toMatchObject({ by: { name: 'engineer' }, reason: 'wrong one' });
  expect(events.at(-1)).toEqual({ kind: 'session.close', reason: 'ended by engineer: wrong one' });
});

test('once: afterwards, and for all but one who try at the same time, it has ended already', async () => {
  const { session } = await fixture.connect();
  const owner = await fixture.clientFor('engineer');
  const administrator = await fixture.clientFor('dba');
  const results = await Promise.allSettled([owner.killSession(session.id), administrator.killSession(session.id), owner.killSession(session.id)]);
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'session-ended', message: expect.stringContaining('has ended: ended by ') });
  }
  await expect(owner.killSession(session.id)).rejects.toMatchObject({ code: 'session-ended', message: expect.stringContaining('ended by ') });
  const kinds = (await fixture.entries(session.id)).map(({ event }) => event.kind);
  expect(kinds.filter((kind) => kind === 'session.kill')).toHaveLength(1);
  expect(kinds.slice(-2)).toEqual(['session.kill', 'session.close']);
});

test('administrators may; auditors, who see it, may not; to others it is not there', async () => {
  const { session } = await fixture.connect();
  await expect((await fixture.clientFor('operator')).killSession(session.id)).rejects.toMatchObject({ code: 'denied', rule: 'session/kill' });
  const foreign = await fixture.connect('operator');
  await expect((await fixture.clientFor('engineer')).killSession(foreign.session.id)).rejects.toMatchObject({ code: 'not-found' });
  await expect((await fixture.clientFor('engineer')).killSession('s_nothing')).rejects.toMatchObject({ code: 'not-found' });
  await expect((await fixture.clientFor('dba')).killSession('s_')).rejects.toMatchObject({ code: 'usage' });
  expect(await (await fixture.clientFor('dba')).killSession(foreign.session.id)).toMatchObject({ state: 'ended', endReason: 'ended by dba' });
  expect(await (await fixture.clientFor('engineer')).session(session.id)).toMatchObject({ state: 'open' });
});

test('whoever approved its grant may, and needs no more than its id', async () => {
  const operator = await fixture.clientFor('operator');
  const approver = await fixture.clientFor('engineer');
  const asked = await operator.createRequest({ target: 'prod-db', role: 'checked' });
  await approver.approve(asked.id, {});
  const grant = await operator.createGrant({ target: 'prod-db', role: 'checked', request: asked.id });
  const { id } = await operator.createSession({ grant: grant.id, verifier: await someVerifier(), command: 'connect' });
  await expect(approver.session(id)).rejects.toMatchObject({ code: 'not-found' });
  expect(await approver.killSession(id, 'not as agreed')).toMatchObject({ state: 'ended', endReason: 'ended by engineer: not as agreed' });
});

async function someVerifier(): Promise<string> {
  const { rows } = await fixture.admin.query<{ verifier: string }>("select rolpassword as verifier from pg_authid where rolname = 'gate_relay'");
  return rows[0]?.verifier as string;
}
