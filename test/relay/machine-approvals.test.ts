/** What people approve for a run of a workload: who may take it, and what of it stays as it was asked for. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { createToolbox } from '../../src/client/mcp/tool-calls.ts';
import { openSession } from '../../src/client/session.ts';
import { runSql } from '../../src/client/sql-session.ts';
import { GateError } from '../../src/errors/errors.ts';
import { machinesPolicy, startMachines, subjectOf, type Machines } from './machines-stage.ts';

const roles = `      deployer: { groups: [engineering], allow: [read, write], approval: { by: [dba] } }
      careful: { groups: [engineering], allow: [read], rules: [{ name: writes, effect: hold, kinds: [write], approval: { by: [dba] } }] }
approvers: { dba: { groups: [dba] } }`;

let machines: Machines;
let dba: RelayClient;
beforeAll(async () => {
  machines = await startMachines((issuers, forge) =>
    machinesPolicy(issuers, forge, '', roles).replace('  olga: {', `  eve: { subject: ${subjectOf('operator')}, accounts: { github-actions: 666 }, emails: [eve@acme.example] }\n  olga: {`),
  );
  dba = await machines.fixture.clientFor('dba');
});
afterAll(async () => machines?.[Symbol.asyncDispose]());

let runs = 100;
/** Each is another run of the same workload. */
async function runOf(actor: 'ada' | 'eve' | 'nobody' | 'stranger'): Promise<RelayClient> {
  const id = { ada: '1815', eve: '666', nobody: '9', stranger: '10' }[actor];
  const { body } = await machines.exchange(await machines.token('github-actions', { actor, actor_id: id, run_id: String(runs++) }));
  return machines.clientOf(body.accessToken);
}

async function refused(work: Promise<unknown>): Promise<GateError> {
  const error = await work.then(() => expect.fail('it was not refused'), (reason: unknown) => reason);
  expect(error).toBeInstanceOf(GateError);
  return error as GateError;
}

test('an approved request is for runs of the same person, also a later one', async () => {
  const wish = { target: 'prod-db', role: 'deployer', reason: 'deploy' };
  const pending = await refused((await runOf('ada')).createGrant(wish));
  expect(pending.code).toBe('approval-pending');
  const request = String(pending.requestId);
  await dba.approve(request, {});
  for (const other of ['eve', 'nobody'] as const) {
    expect(await refused((await runOf(other)).createGrant({ ...wish, request }))).toMatchObject({ code: 'denied', rule: 'request/human', message: expect.stringContaining('migrate (for ada)') });
  }
  expect(await (await runOf('ada')).createGrant({ ...wish, request })).toMatchObject({ role: 'deployer' });
});

test('where the policy knows no person, it is for runs of the same account of the platform', async () => {
  const wish = { target: 'prod-db', role: 'deployer', reason: 'deploy' };
  const request = String((await refused((await runOf('nobody')).createGrant(wish))).requestId);
  await dba.approve(request, {});
  expect(await refused((await runOf('stranger')).createGrant({ ...wish, request }))).toMatchObject({ code: 'denied', rule: 'request/human' });
  expect(await (await runOf('nobody')).createGrant({ ...wish, request })).toMatchObject({ role: 'deployer' });
});

test('a request for reads only gives no more than that, and says so to who decides', async () => {
  const ada = await runOf('ada');
  const wish = { target: 'prod-db', role: 'deployer', reason: 'look' };
  const request = String((await refused(ada.createGrant({ ...wish, readOnly: true }))).requestId);
  expect(await dba.request(request)).toMatchObject({ isReadOnly: true });
  await dba.approve(request, {});
  expect((await refused(execute(ada, { ...wish, request }, 'delete from items where id = 1'))).rule).toBe('prod-db/deployer/read-only');
});

test('an approved statement runs once, in the next run of the same person and in nobody else’s', async () => {
  const wish = { target: 'prod-db', role: 'careful', reason: 'clean up' };
  const sql = 'delete from items where id = 77';
  const held = await refused(execute(await runOf('ada'), wish, sql));
  expect(held.code).toBe('approval-pending');
  await dba.approve(String(held.requestId), {});
  for (const other of ['eve', 'nobody'] as const) {
    const again = await refused(execute(await runOf(other), wish, sql));
    expect(again.code).toBe('approval-pending');
    expect(again.requestId).not.toBe(held.requestId);
  }
  expect((await refused(execute(await runOf('ada'), wish, `${sql} or id = 78`))).code).toBe('approval-pending');
  await execute(await runOf('ada'), wish, sql);
  expect((await machines.fixture.admin.query('select count(*)::int as n from items where id = 77')).rows).toEqual([{ n: 0 }]);
  expect((await refused(execute(await runOf('ada'), wish, sql))).code).toBe('approval-pending');
});

test('an agent in a run hears of a person who is only claimed that they are', async () => {
  const commit = `tree ${'a'.repeat(40)}\nauthor Eve <eve@acme.example> 1 +0000\ncommitter Eve <eve@acme.example> 1 +0000\n\nx\n`;
  const { body } = await machines.exchange(await machines.token('google'), { commit: Buffer.from(commit).toString('base64') });
  const toolbox = createToolbox({ relay: await machines.clientOf(body.accessToken), agent: 'claude/1', defaults: { isReadOnly: true } });
  const { structuredContent } = await toolbox.call('list_targets', {}, AbortSignal.timeout(10_000));
  expect(structuredContent['onBehalfOf']).toBe('eve (only claimed)');
  await toolbox.close();
});

async function execute(relay: RelayClient, wish: { target: string; role: string; reason: string; request?: string }, sql: string): Promise<void> {
  const session = await openSession(relay, 'exec', wish, 0);
  const nothing = async () => undefined;
  const handlers = { fields: nothing, rows: nothing, copy: nothing, copyData: nothing, complete: nothing, notice: () => undefined };
  try {
    await runSql({ relay: relay.url, session, accessToken: () => relay.accessToken(), texts: [{ sql }], handlers, signal: new AbortController().signal });
  } finally {
    await relay.endSession(session.id);
  }
}
