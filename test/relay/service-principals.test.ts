/** The rules that service principals stand under: how long, what, when, and with whom behind them. */
import { describe, expect, test } from 'vitest';
import type { Grant } from '../../src/grant/grant.ts';
import { admit, explain } from '../../src/policy/decide.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import type { Link } from '../../src/principal/principal.ts';
import { statement } from '../grant/fixtures.ts';
import { factsOf } from '../policy/some.ts';
import { human, link, openStandingStage, workload } from './standing-stage.ts';

const policyText = `
issuers: { ci: { url: https://ci.example.com, audience: gate } }
workloads: { deploy: { issuer: ci, claims: { sub: '1' }, groups: [deployers], owner: eve } }
people: { eve: { subject: sub-eve } }
approvers: { leads: { groups: [leads] } }
targets:
  prod-db:
    roles:
      migrate: { groups: [deployers], allow: [read, schema], maxDuration: 15m }
      nightly:
        groups: [deployers]
        allow: [read]
        when: principal.kind == "workload" && now.getHours() >= 1 && now.getHours() < 4
      people: { groups: [deployers], allow: [read], when: principal.kind == "human" }
      proven: { groups: [deployers], allow: [read, write], require: [human] }
      mixed:
        groups: [deployers]
        allow: [read]
        rules:
          - { name: caused, effect: allow, kinds: [write], require: [human] }
          - { name: eves, effect: allow, kinds: [schema], when: has(principal.human) && principal.human == "sub-eve" }
      held: { groups: [deployers], allow: [read], approval: { by: [leads] } }
`;
const policy = parsePolicy(policyText, 'policy.yaml');
const night = new Date('2026-05-04T02:00:00Z');
const day = new Date('2026-05-04T04:00:00Z');
const verified = link('human', 'eve', { id: 'sub-eve' });
const claimed = link('human', 'eve', { id: 'sub-eve', strength: 'claimed', source: 'client' });
const run = (...chain: Link[]) => workload('deploy', ['deployers'], ...chain);

const roleAt = (role: string, now: Date, principal = run()) => {
  try {
    return admit(policy, principal, { target: 'prod-db', role, reason: 'r' }, now).name;
  } catch (error) {
    return (error as { rule: string }).rule;
  }
};

function decisionOf(role: string, kind: 'read' | 'write' | 'schema', ...[now, chain = [], more = {}]: [Date, (readonly Link[])?, Partial<Grant>?]): string {
  const grant: Grant = { id: 'g', principal: run(...chain), target: 'prod-db', role, createdAt: now, expiresAt: new Date(now.getTime() + 3_600_000 * 24), ...more };
  const { effect, rule } = explain({ facts: [factsOf({ kinds: [kind] })], grant, target: { name: 'prod-db' }, policy, now }).decision;
  return `${effect} ${rule}`;
}

describe('by policy', () => {
  test('a time window gives the role only then, and ends what runs when it is over', () => {
    expect(roleAt('nightly', night)).toBe('nightly');
    expect(roleAt('nightly', day)).toBe('prod-db/nightly/when');
    expect(roleAt('nightly', new Date('2026-05-04T00:59:59Z'))).toBe('prod-db/nightly/when');
    expect(decisionOf('nightly', 'read', night)).toBe('allow prod-db/nightly/allow');
    expect(decisionOf('nightly', 'read', day)).toBe('deny prod-db/nightly/when');
  });

  test('a role can be for machines, or for people alone', () => {
    expect(roleAt('nightly', night, human('sub-eve', 'deployers'))).toBe('prod-db/nightly/when');
    expect(roleAt('people', day, human('sub-eve', 'deployers'))).toBe('people');
    expect(roleAt('people', day)).toBe('prod-db/people/when');
  });

  test('only the kinds that it allows run, and nothing but reads where that was asked for', () => {
    expect(decisionOf('migrate', 'schema', day)).toBe('allow prod-db/migrate/allow');
    expect(decisionOf('migrate', 'write', day)).toBe('deny prod-db/migrate/allow');
    expect(decisionOf('migrate', 'schema', day, [], { isReadOnly: true })).toBe('deny prod-db/migrate/read-only');
  });

  test.each<[string, Link[], string, string]>([
    ['verified', [verified], 'proven', 'allow prod-db/mixed/caused'],
    ['claimed', [claimed], 'prod-db/proven/require', 'deny prod-db/mixed/caused'],
    ['both, in either order', [claimed, verified], 'proven', 'allow prod-db/mixed/caused'],
    ['nobody but an author', [link('author', 'eve', { id: 'sub-eve' })], 'prod-db/proven/require', 'deny prod-db/mixed/caused'],
    ['nobody but an owner', [link('owner', 'eve', { id: 'sub-eve' })], 'prod-db/proven/require', 'deny prod-db/mixed/caused'],
    ['nobody', [], 'prod-db/proven/require', 'deny prod-db/mixed/caused'],
  ])('require: [human], in a role and in a rule: %s', (_, chain, role, decision) => {
    expect(roleAt('proven', day, run(...chain))).toBe(role);
    expect(decisionOf('mixed', 'write', day, chain)).toBe(decision);
    expect(decisionOf('mixed', 'read', day, chain)).toBe('allow prod-db/mixed/allow');
  });

  test('a condition sees who is verified behind it, and does not take a claim for it', () => {
    expect(decisionOf('mixed', 'schema', day, [verified])).toBe('allow prod-db/mixed/eves');
    expect(decisionOf('mixed', 'schema', day, [claimed])).toMatch(/^deny/);
    expect(decisionOf('mixed', 'schema', day, [link('human', 'ann', { id: 'sub-ann' })])).toMatch(/^deny/);
  });
});

describe('at the desk', () => {
  test('no longer than the role lasts, to the second', async () => {
    const { grants } = await openStandingStage(policyText);
    const ask = (durationSeconds?: number) => grants.give(run(), { target: 'prod-db', role: 'migrate', ...(durationSeconds !== undefined && { durationSeconds }) });
    await expect(ask(901)).rejects.toMatchObject({ code: 'denied', rule: 'prod-db/migrate/maxDuration', message: 'a grant for prod-db lasts at most 900 seconds' });
    for (const asked of [900, undefined]) {
      const given = await ask(asked);
      if (!('grant' in given)) throw new Error('it waits for somebody');
      expect(given.grant.expiresAt.getTime() - given.grant.createdAt.getTime()).toBe(900_000);
    }
  });

  test.each([
    ['verified', verified],
    ['claimed', claimed],
  ])('the person behind a run, %s, does not approve it, whatever their groups', async (_, behind) => {
    const { grants, requests } = await openStandingStage(policyText);
    const { id } = await grants.ask(run(behind), { target: 'prod-db', role: 'held' });
    const vote = (subject: string) => requests.vote(id, { by: human(subject, 'leads'), decision: 'approve', at: new Date() });
    await expect(vote('sub-eve')).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('you are the person behind ci deploy') });
    expect((await vote('sub-lea')).state).toBe('approved');
    expect(await grants.give(run(behind), { target: 'prod-db', request: id })).toHaveProperty('grant');
  });

  test('a machine approves nothing', async () => {
    const { grants, requests } = await openStandingStage(policyText);
    const { id } = await grants.ask(run(), { target: 'prod-db', role: 'held' });
    const by = workload('other', ['leads']);
    await expect(requests.vote(id, { by, decision: 'approve', at: new Date() })).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('only people vote') });
  });

  test('nor does the approval of a statement count for a run of whoever gave it', async () => {
    const { requests, people } = await openStandingStage(policyText);
    const key = { target: 'prod-db', role: 'held', fingerprint: statement().fingerprint, parameterHash: statement().parameterHash };
    const approval = { by: ['leads'], count: 1, denials: 2, withinSeconds: 600 };
    const { id } = await requests.ask({ requester: run(), target: 'prod-db', role: 'held', approval, rule: 'x', statement: statement({ isWaiting: false }) });
    await requests.vote(id, { by: human('sub-eve', 'leads'), decision: 'approve', at: new Date() });
    expect(await requests.take({ ...key, principal: run(verified) })).toBeUndefined();
    expect(await requests.take({ ...key, principal: run(claimed) })).toBeUndefined();
    expect(await requests.take({ ...key, principal: run() })).toMatchObject({ request: id });
    // Who else had voted and no longer may does not make up for it.
    const two = await requests.ask({ requester: run(), target: 'prod-db', role: 'held', approval: { ...approval, count: 2 }, rule: 'x', statement: statement({ isWaiting: false }) });
    for (const subject of ['sub-eve', 'sub-lea']) await requests.vote(two.id, { by: human(subject, 'leads'), decision: 'approve', at: new Date() });
    expect(await requests.take({ ...key, principal: run(claimed) })).toBeUndefined();
    await people.see(human('sub-lea', 'sales'), new Date());
    expect(await requests.take({ ...key, principal: run() })).toBeUndefined();
  });

  test.each([
    ['verified', verified],
    ['claimed', claimed],
  ])('who stands %s behind the run that takes what was approved has not approved it', async (_, behind) => {
    const stage = await openStandingStage(policyText);
    const { id } = await stage.grants.ask(run(), { target: 'prod-db', role: 'held' });
    await stage.requests.vote(id, { by: human('sub-eve', 'leads'), decision: 'approve', at: new Date() });
    await expect(stage.grants.give(run(behind), { target: 'prod-db', request: id })).rejects.toMatchObject({ code: 'denied', rule: 'request/human' });
    expect((await stage.store.listGrants({ limit: 10 })).length).toBe(0);
    // Another run that nobody new stands behind may take it.
    expect(await stage.grants.give(run(), { target: 'prod-db', request: id })).toHaveProperty('grant');
  });
});
