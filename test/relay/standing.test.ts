/** Grants that no longer stand: whom the policy or the directory says to have left, at the asking and while they run. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EventOf } from '../../src/audit/entry.ts';
import type { DirectoryConfig } from '../../src/relay/directory-config.ts';
import { scimToken, startScimServer, type ScimServer } from '../oidc/scim-server.ts';
import { asAgent } from '../../src/relay/agents.ts';
import { human, link, openStandingStage, workload, type StandingStage } from './standing-stage.ts';

const policyWith = (more = '', workloads = '') => `
issuers: { ci: { url: https://ci.example.com, audience: gate } }
workloads:
  deploy: { issuer: ci, claims: { sub: '1' }, groups: [deployers], owner: eve }
  checked: { issuer: ci, claims: { sub: '2' }, groups: [deployers], human: { groups: [engineering] } }
${workloads}
people:
  ann: { subject: sub-ann }
  eve: { subject: sub-eve }
${more}
approvers: { leads: { groups: [leads] } }
targets:
  prod-db:
    roles:
      reader: { groups: [deployers, engineering], allow: [read] }
      held: { groups: [deployers], allow: [read], approval: { by: [leads] } }
`;
const eveLeft = policyWith('offboarded: [{ person: eve, reason: left in May }]');
const ann = link('human', 'ann', { id: 'sub-ann' });
const eveOwns = link('owner', 'eve', { source: 'policy' });

const live = async ({ store }: StandingStage) => (await store.listGrants({ liveAt: new Date(), limit: 100 })).map(({ id }) => id).toSorted();
const revocations = async (stage: StandingStage) =>
  (await stage.decisions()).filter((event): event is EventOf<'grant.revoke'> => event.kind === 'grant.revoke').map(({ grant, by, reason }) => [grant, by.name, reason]).toSorted(([one = ''], [other = '']) => one.localeCompare(other));
const denials = async (stage: StandingStage) =>
  (await stage.decisions()).filter((event): event is EventOf<'grant.deny'> => event.kind === 'grant.deny').map(({ rule, reason }) => [rule, reason]);
const ask = (stage: StandingStage, principal: ReturnType<typeof human>, role = 'reader') => stage.grants.give(principal, { target: 'prod-db', role });

describe('the policy alone', () => {
  test('whoever left, what they own and what they run lose what they have; others keep it', async () => {
    const stage = await openStandingStage(policyWith());
    await stage.grantTo(human('sub-eve', 'engineering'));
    await stage.grantTo(human('sub-ann', 'engineering'));
    await stage.grantTo(workload('deploy', ['deployers']));
    await stage.grantTo(workload('checked', ['deployers'], link('human', 'eve', { id: 'sub-eve' })));
    await stage.grantTo(workload('checked', ['deployers'], ann, link('human', 'eve', { id: 'sub-eve', strength: 'claimed' })));
    await stage.grantTo({ ...human('agent-eve', 'engineering'), kind: 'agent', chain: [link('agent', 'claude'), link('human', 'eve', { id: 'sub-eve' })] });
    await stage.grantTo(human('sub-eve', 'engineering'), { expiresAt: new Date(Date.now() - 1) });
    await stage.people.see(human('sub-ann', 'engineering'), new Date());
    await stage.watch.check();
    expect(await live(stage)).toEqual(['g_1', 'g_2', 'g_3', 'g_4', 'g_5', 'g_6']);

    stage.setPolicy(eveLeft);
    await stage.watch.check();
    expect(await live(stage)).toEqual(['g_2', 'g_5']);
    const because = 'eve has left: left in May';
    expect(await revocations(stage)).toEqual(['g_1', 'g_3', 'g_4', 'g_6'].map((id) => [id, 'gate', because]));
    expect((await stage.store.loadGrant('g_3'))?.revocation).toMatchObject({ reason: because, by: { issuer: 'gate', subject: 'relay', kind: 'workload' } });
    // Again, nothing is revoked twice.
    await stage.watch.check();
    expect(await revocations(stage)).toHaveLength(4);
  });

  test('a workload that the policy no longer has loses its grants, and gets none', async () => {
    const stage = await openStandingStage(policyWith('', "  old: { issuer: ci, claims: { sub: '3' }, groups: [deployers] }"));
    await stage.grantTo(workload('old', ['deployers']));
    await stage.grantTo(workload('deploy', ['deployers']));
    stage.setPolicy(policyWith());
    await stage.watch.check();
    expect(await revocations(stage)).toEqual([['g_1', 'gate', 'the policy no longer has the workload old']]);
    await expect(ask(stage, workload('old', ['deployers']))).rejects.toMatchObject({ code: 'denied', rule: 'workload/old' });
  });

  test('an agent with the login of a workload stands and falls like that workload', async () => {
    const stage = await openStandingStage(policyWith('', "  old: { issuer: ci, claims: { sub: '3' }, groups: [deployers] }"));
    await stage.grantTo(asAgent(workload('old', ['deployers']), 'claude'));
    await stage.grantTo(asAgent(workload('deploy', ['deployers']), 'claude'));
    await stage.people.see(human('sub-ann', 'engineering'), new Date(1000));
    await stage.grantTo(asAgent(workload('checked', ['deployers'], ann), 'claude'));
    await stage.watch.check();
    expect(await live(stage)).toEqual(['g_1', 'g_2', 'g_3']);
    stage.setPolicy(eveLeft);
    await stage.people.see(human('sub-ann', 'sales'), new Date(2000));
    await stage.watch.check();
    expect(await revocations(stage)).toEqual([
      ['g_1', 'gate', 'the policy no longer has the workload old'],
      ['g_2', 'gate', 'eve has left: left in May'],
      ['g_3', 'gate', 'ann, who stands behind claude, is not in engineering'],
    ]);
    await expect(ask(stage, asAgent(workload('old', ['deployers']), 'claude'))).rejects.toMatchObject({ code: 'denied', rule: 'workload/old' });
    await expect(ask(stage, asAgent(workload('checked', ['deployers']), 'claude'))).rejects.toMatchObject({ rule: 'human/groups' });
  });

  test('who left gets nothing, with that reason, and it is on record', async () => {
    const stage = await openStandingStage(eveLeft);
    const refused = { code: 'denied', exitCode: 3, rule: 'offboarded/eve', message: 'eve has left: left in May' };
    await expect(ask(stage, human('sub-eve', 'engineering'))).rejects.toMatchObject(refused);
    await expect(ask(stage, workload('deploy', ['deployers'], eveOwns))).rejects.toMatchObject(refused);
    await expect(ask(stage, workload('deploy', ['deployers']), 'held')).rejects.toMatchObject(refused);
    expect(await denials(stage)).toEqual(Array.from({ length: 3 }, () => ['offboarded/eve', 'eve has left: left in May']));
    expect(await live(stage)).toEqual([]);
  });

  test('nor by what was approved before they left', async () => {
    const stage = await openStandingStage(policyWith());
    const run = workload('deploy', ['deployers']);
    const asked = await stage.grants.ask(run, { target: 'prod-db', role: 'held' });
    await stage.requests.vote(asked.id, { by: human('sub-lea', 'leads'), decision: 'approve', at: new Date() });
    stage.setPolicy(eveLeft);
    const collecting = stage.grants.give(run, { target: 'prod-db', request: asked.id });
    await expect(collecting).rejects.toMatchObject({ code: 'denied', rule: 'offboarded/eve' });
    expect(await denials(stage)).toHaveLength(1);
    expect((await stage.requests.decided(asked.id, AbortSignal.timeout(1000))).state).toBe('approved');
  });

  test('a policy that comes into force while a grant is given does not miss it', async () => {
    const stage = await openStandingStage(policyWith());
    const giving = ask(stage, workload('deploy', ['deployers']));
    // It has been admitted by now, and is being recorded.
    await new Promise((resolve) => setImmediate(resolve));
    stage.setPolicy(eveLeft);
    await expect(giving).rejects.toMatchObject({ code: 'denied', rule: 'offboarded/eve' });
    expect(await live(stage)).toEqual([]);
  });
});

describe('what tokens said, without a directory', () => {
  test('human: { groups } goes by the newest token of the verified person', async () => {
    const stage = await openStandingStage(policyWith());
    const run = workload('checked', ['deployers'], ann);
    await expect(ask(stage, run)).rejects.toMatchObject({ code: 'denied', rule: 'human/groups', message: 'the groups of ann, who stands behind ci checked, are not known', hint: expect.stringContaining('gate login') });
    await expect(ask(stage, workload('checked', ['deployers'], { ...ann, strength: 'claimed' }))).rejects.toMatchObject({ rule: 'human/groups', message: 'nobody who is verified stands behind ci checked' });
    await stage.people.see(human('sub-ann', 'engineering'), new Date(1000));
    const given = await ask(stage, run);
    await stage.watch.check();
    expect(await live(stage)).toHaveLength(1);
    await stage.people.see(human('sub-ann', 'sales'), new Date(2000));
    await stage.watch.check();
    expect(await revocations(stage)).toEqual([['grant' in given && given.grant.id, 'gate', 'ann, who stands behind ci checked, is not in engineering']]);
    await expect(ask(stage, run)).rejects.toMatchObject({ rule: 'human/groups' });
  });

  test('a person who has come with fewer groups since loses what the others gave', async () => {
    const stage = await openStandingStage(policyWith());
    const erin = human('sub-erin', 'engineering', 'deployers');
    await stage.grantTo(erin);
    await stage.people.see({ ...erin, groups: ['deployers'] }, new Date(1000));
    await stage.watch.check();
    expect(await live(stage)).toEqual(['g_1']);
    await stage.people.see({ ...erin, groups: ['sales'] }, new Date(2000));
    await stage.watch.check();
    expect(await revocations(stage)).toEqual([['g_1', 'gate', 'sub-erin is no longer in deployers or engineering']]);
  });
});

describe('a directory', () => {
  let scim: ScimServer;
  beforeAll(async () => {
    scim = await startScimServer();
  });
  afterAll(() => scim?.[Symbol.asyncDispose]());
  beforeEach(() => {
    scim.instead = undefined;
    scim.users.clear();
    for (const name of ['ann', 'eve']) set(name, true, 'engineering');
  });
  const set = (name: string, active: boolean, ...groups: string[]) =>
    scim.users.set(name, { id: name, externalId: `sub-${name}`, userName: name, active, groups: groups.map((display) => ({ display })) });
  const open = (everySeconds = 0.001) => openStandingStage(policyWith(), { url: scim.url, token: scimToken, match: 'externalId', everySeconds } satisfies DirectoryConfig);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

  test('somebody not active, unknown, or out of the groups: theirs, and what they own and run, ends', async () => {
    const stage = await open();
    await stage.grantTo(human('sub-ann', 'engineering'));
    await stage.grantTo(human('sub-eve', 'engineering'));
    await stage.grantTo(workload('deploy', ['deployers']));
    await stage.grantTo(workload('checked', ['deployers'], ann));
    await stage.watch.check();
    expect(await live(stage)).toHaveLength(4);
    expect(decodeURIComponent(scim.asked[0] ?? '').replaceAll('+', ' ')).toMatch(/^\/scim\/v2\/Users\?filter=externalId eq "sub-(?:ann|eve)"$/);

    set('ann', true, 'sales');
    set('eve', false, 'engineering');
    await pause();
    await stage.watch.check();
    expect(await revocations(stage)).toEqual([
      ['g_1', 'gate', 'sub-ann is no longer in engineering'],
      ['g_2', 'gate', 'eve has left: the directory says that they are not active'],
      ['g_3', 'gate', 'the owner eve has left: the directory says that they are not active'],
      ['g_4', 'gate', 'ann, who stands behind ci checked, is not in engineering'],
    ]);
    await expect(ask(stage, human('sub-eve', 'engineering'))).rejects.toMatchObject({ code: 'denied', rule: 'offboarded/eve' });
    scim.users.delete('eve');
    await pause();
    await expect(ask(stage, workload('deploy', ['deployers']))).rejects.toMatchObject({ rule: 'offboarded/eve', message: 'the owner eve has left: the directory does not know them' });
  });

  test('silent: what runs goes on, machines get nothing new, people with a fresh token of their own do', async () => {
    const stage = await open();
    await stage.grantTo(human('sub-ann', 'engineering'));
    await stage.grantTo(workload('deploy', ['deployers']));
    await stage.grantTo(workload('checked', ['deployers'], ann));
    for (const instead of [(_: unknown, response: { destroy(): unknown }) => void response.destroy(), (_: unknown, response: { writeHead(status: number): { end(): unknown } }) => void response.writeHead(404).end()]) {
      scim.instead = instead;
      await pause();
      await stage.watch.check();
      expect(await live(stage)).toHaveLength(3);
      expect(stage.scim?.problem).toBeDefined();
      await expect(ask(stage, workload('deploy', ['deployers']))).rejects.toMatchObject({ code: 'denied', rule: 'directory', message: 'the directory does not say whether eve is still there', hint: expect.stringContaining('/readyz') });
      await expect(ask(stage, workload('checked', ['deployers'], ann))).rejects.toMatchObject({ code: 'denied', rule: 'directory' });
      // Saying that it is an agent does not make a machine's login a person's.
      await expect(ask(stage, asAgent(workload('checked', ['deployers'], ann), 'claude'))).rejects.toMatchObject({ code: 'denied', rule: 'directory' });
    }
    expect(await ask(stage, human('sub-new', 'engineering'))).toHaveProperty('grant');
    scim.instead = undefined;
    await pause();
    expect(await ask(stage, workload('checked', ['deployers'], ann))).toHaveProperty('grant');
    expect(stage.scim?.problem).toBeUndefined();
  });

  test('one answer counts for the interval, and who waits for the same one does not ask again', async () => {
    const stage = await open(300);
    const before = scim.asked.length;
    for (let at = 0; at < 8; at++) await stage.grantTo(human('sub-ann', 'engineering'));
    await stage.watch.check();
    await stage.watch.check();
    expect(scim.asked.length - before).toBe(1);
    set('ann', false);
    await stage.watch.check();
    expect(await live(stage)).toHaveLength(8);
  });
});
