/** What every RequestStore promises, run against each implementation. */
import { describe, expect, test } from 'vitest';
import type { GrantStore } from '../../src/grant/grant.ts';
import { castVote, statementApprovalOf, use } from '../../src/grant/life-cycle.ts';
import type { RequestFilter, RequestStore } from '../../src/grant/request-store.ts';
import type { AccessRequest, StatementApproval } from '../../src/grant/request.ts';
import { at, dan, dora, erin, request, rule, statement, vote } from '../grant/fixtures.ts';

/** `make` gives new empty stores of one state; closing them is its own business. */
export function requestStoreContract(name: string, make: () => Promise<{ store: RequestStore; grants: GrantStore }>): void {
  const approve = (before: AccessRequest, uses: number) =>
    castVote(before, vote(dora, 'approve', 10, { allows: { uses, until: at(3600), anyParameters: false } }), () => true);
  const held = (more: Partial<AccessRequest> = {}) => request({ kind: 'statement', statement: statement(), ...more });
  const key = { principal: erin, target: 'prod-db', role: 'dba', fingerprint: 'f'.repeat(64), parameterHash: 'a'.repeat(64) };

  describe(`the RequestStore ${name}`, () => {
    test('keeps a request as it is', async () => {
      const { store } = await make();
      const plain = request();
      const full = held({
        id: 'r_2',
        reason: 'why\nnot',
        ticket: 'OPS-1',
        state: 'denied',
        endReason: 'no',
        votes: [vote(dora, 'deny', 3, { reason: 'no' }), vote(dan, 'approve', 4, { allows: { uses: 2, until: at(9), anyParameters: true } })],
        grant: 'g_1',
      });
      for (const saved of [plain, full]) await store.saveRequest(saved);
      expect(await store.loadRequest('r_1')).toEqual(plain);
      expect(await store.loadRequest('r_2')).toEqual(full);
      expect(await store.loadRequest('r_')).toBeUndefined();
      await expect(store.saveRequest(request())).rejects.toThrow();
    });

    test('replaces only what is as it was', async () => {
      const { store } = await make();
      const before = request({ approval: rule({ count: 2 }) });
      await store.saveRequest(before);
      const first = castVote(before, vote(dora, 'approve', 1), () => true);
      const rival = castVote(before, vote(dan, 'approve', 2), () => true);
      expect(await Promise.all([store.replaceRequest(before, first), store.replaceRequest(before, rival)])).toEqual([true, false]);
      expect(await store.loadRequest('r_1')).toEqual(first);
      const both = castVote(first, vote(dan, 'approve', 3), () => true);
      expect(await store.replaceRequest(first, both)).toBe(true);
      expect(await store.replaceRequest(first, { ...first, state: 'withdrawn' })).toBe(false);
      expect(await store.loadRequest('r_1')).toEqual(both);
      expect(await store.replaceRequest(request({ id: 'r_none' }), request({ id: 'r_none', state: 'denied' }))).toBe(false);
    });

    test('keeps one vote of each person', async () => {
      const { store } = await make();
      await store.saveRequest(request());
      const twice = request({ votes: [vote(dora, 'approve', 1), vote(dora, 'approve', 2)] });
      await expect(store.replaceRequest(request(), twice)).rejects.toThrow();
      expect(await store.loadRequest('r_1')).toEqual(request());
    });

    test('saves a grant with the use of its request, or neither', async () => {
      const { store, grants } = await make();
      const approved = castVote(request(), vote(dora, 'approve', 1), () => true);
      await store.saveRequest(approved);
      const grant = { id: 'g_1', principal: erin, target: 'prod-db', role: 'dba', request: 'r_1', createdAt: at(20), expiresAt: at(3620) };
      const used = use(approved, 'g_1');
      expect(await Promise.all([1, 2, 3].map(() => store.replaceRequest(approved, used, { grant }).catch(() => false)))).toEqual([true, false, false]);
      expect(await grants.loadGrant('g_1')).toEqual(grant);
      await store.saveRequest({ ...approved, id: 'r_2' });
      await expect(store.replaceRequest({ ...approved, id: 'r_2' }, { ...used, id: 'r_2' }, { grant })).rejects.toThrow();
      expect((await store.loadRequest('r_2'))?.state).toBe('approved');
    });

    test('lists newest first and counts, narrowed as asked', async () => {
      const { store } = await make();
      const saved = [
        request({ id: 'r_aa', createdAt: at(1) }),
        request({ id: 'r_ab', createdAt: at(3), state: 'expired' }),
        held({ id: 'r_a%', createdAt: at(2) }),
        request({ id: 'R_x', createdAt: at(4), requester: dora, votes: [vote(dan, 'approve', 1)] }),
      ];
      for (const one of saved) await store.saveRequest(one);
      const ids = async (filter: Partial<RequestFilter>) => (await store.listRequests({ limit: 100, ...filter })).map(({ id }) => id);
      expect(await ids({})).toEqual(['R_x', 'r_ab', 'r_a%', 'r_aa']);
      expect((await store.listRequests({ limit: 1 }))[0]).toEqual(saved[3]);
      expect(await ids({ limit: 2 })).toEqual(['R_x', 'r_ab']);
      expect(await ids({ requester: erin })).toEqual(['r_ab', 'r_a%', 'r_aa']);
      expect(await ids({ kind: 'statement' })).toEqual(['r_a%']);
      expect(await ids({ states: ['pending'] })).toEqual(['R_x', 'r_a%', 'r_aa']);
      expect(await ids({ states: ['expired', 'used'] })).toEqual(['r_ab']);
      expect(await ids({ states: [] })).toEqual([]);
      expect(await ids({ idPrefix: 'r_a' })).toEqual(['r_ab', 'r_a%', 'r_aa']);
      expect(await ids({ idPrefix: 'r_a%' })).toEqual(['r_a%']);
      expect(await store.countRequests({ requester: erin, states: ['pending'], kind: 'grant' })).toBe(1);
      expect(await store.countRequests({})).toBe(4);
    });

    test('finds approvals of exactly this statement', async () => {
      const { store } = await make();
      await store.saveRequest(held());
      await store.replaceRequest(held(), approve(held(), 2), { approval: statementApprovalOf(approve(held(), 2)) as StatementApproval });
      const found = async (more: Partial<typeof key>, seconds = 20) => (await store.findApprovals({ ...key, ...more }, at(seconds))).map(({ request: id }) => id);
      expect(await found({})).toEqual(['r_1']);
      expect(await store.loadApproval('r_1')).toEqual(statementApprovalOf(approve(held(), 2)));
      expect(await store.loadApproval('r_2')).toBeUndefined();
      for (const other of [{ fingerprint: 'e' }, { parameterHash: 'b' }, { target: 'x' }, { role: 'x' }, { principal: dora }, { principal: { ...erin, issuer: 'x' } }]) {
        expect(await found(other)).toEqual([]);
      }
      expect(await found({}, 3599.999)).toEqual(['r_1']);
      expect(await found({}, 3600)).toEqual([]);
    });

    test('finds approvals for any parameters', async () => {
      const { store } = await make();
      const approved = approve(held(), 1);
      await store.saveRequest(held());
      await store.replaceRequest(held(), approved, { approval: { ...(statementApprovalOf(approved) as StatementApproval), parameterHash: null } });
      expect(await store.findApprovals({ ...key, parameterHash: 'whatever' }, at(20))).toHaveLength(1);
      expect((await store.takeUse('r_1', at(20)))?.parameterHash).toBeNull();
    });

    test.each([1, 3])('of many takers at once %i get a use', async (uses) => {
      const { store } = await make();
      const approved = approve(held(), uses);
      await store.saveRequest(held());
      await store.replaceRequest(held(), approved, { approval: statementApprovalOf(approved) as StatementApproval });
      const taken = await Promise.all(Array.from({ length: 20 }, () => store.takeUse('r_1', at(20))));
      expect(taken.filter((one) => one !== undefined).map(({ usesLeft }) => usesLeft).toSorted((one, other) => one - other)).toEqual(Array.from({ length: uses }, (_, left) => left));
      expect((await store.loadRequest('r_1'))?.state).toBe('used');
      expect(await store.findApprovals(key, at(20))).toEqual([]);
    });

    test('gives no use after its time, nor of a request that is not approved any more', async () => {
      const { store } = await make();
      const approved = approve(held(), 5);
      await store.saveRequest(held());
      await store.replaceRequest(held(), approved, { approval: statementApprovalOf(approved) as StatementApproval });
      expect(await store.takeUse('r_1', at(3600))).toBeUndefined();
      expect(await store.takeUse('r_2', at(20))).toBeUndefined();
      expect(await store.replaceRequest(approved, { ...approved, state: 'denied' })).toBe(true);
      expect(await store.takeUse('r_1', at(20))).toBeUndefined();
      expect(await store.findApprovals(key, at(20))).toEqual([]);
    });
  });
}
