/** What every GrantStore promises, run against each implementation. */
import { describe, expect, test } from 'vitest';
import type { Grant, GrantStore, Session, SessionEnd } from '../../src/grant/grant.ts';
import type { Principal } from '../../src/principal/principal.ts';

const erin: Principal = {
  issuer: 'https://id.example.com',
  subject: 'u1',
  kind: 'human',
  name: "Erin O'Neil \u{1f600}",
  groups: ['engineering', 'on call'],
};
const dora: Principal = { ...erin, subject: 'u2', name: 'Dora', groups: [] };

function grant(id: string, more: Partial<Grant> = {}): Grant {
  return {
    id,
    principal: erin,
    target: 'prod-db',
    role: 'reader',
    createdAt: new Date('2026-11-02T10:00:00.001Z'),
    expiresAt: new Date('2026-11-02T11:00:00.001Z'),
    ...more,
  };
}

function session(id: string, of: Grant, startedAt = new Date('2026-11-02T10:01:00.002Z')): Session {
  return { id, grant: of, command: 'connect', user: 'gate', verifier: 'SCRAM-SHA-256$4096:c2FsdA==$a:b', startedAt };
}

function at(minute: number): Date {
  return new Date(Date.UTC(2026, 10, 2, 10, minute));
}

const end: SessionEnd = {
  at: new Date('2026-11-02T10:30:00.003Z'),
  reason: 'the client left',
  counts: { connections: 2, statements: 7, refused: 1 },
};

/** `make` gives a new empty store; closing it is its own business. */
export function grantStoreContract(name: string, make: () => Promise<GrantStore>): void {
  describe(`the GrantStore ${name}`, () => {
    test('keeps a grant as it is', async () => {
      const store = await make();
      const plain = grant('g1');
      const reasoned = grant('g2', { reason: 'why\nnot', principal: dora });
      await store.saveGrant(plain);
      await store.saveGrant(reasoned);
      expect(await store.loadGrant('g1')).toEqual(plain);
      expect(await store.loadGrant('g2')).toEqual(reasoned);
      expect(await store.loadGrant('g')).toBeUndefined();
    });

    test('never changes a grant', async () => {
      const store = await make();
      await store.saveGrant(grant('g1'));
      await expect(store.saveGrant(grant('g1', { role: 'admin' }))).rejects.toThrow();
      expect(await store.loadGrant('g1')).toEqual(grant('g1'));
    });

    test('keeps what a grant came of', async () => {
      const store = await make();
      const full = grant('g1', { ticket: 'OPS-1', request: 'r1', revocation: { at: at(9), by: dora, reason: 'leak' } });
      await store.saveGrant(full);
      expect(await store.loadGrant('g1')).toEqual(full);
    });

    test('revokes a grant once', async () => {
      const store = await make();
      await store.saveGrant(grant('g1'));
      const revocations = [{ at: at(5), by: dora }, { at: at(6), by: erin, reason: 'other' }] as const;
      expect(await Promise.all(revocations.map((one) => store.revokeGrant('g1', one)))).toEqual([true, false]);
      expect(await store.revokeGrant('nothing', revocations[0])).toBe(false);
      expect(await store.loadGrant('g1')).toEqual(grant('g1', { revocation: revocations[0] }));
      await store.saveSession(session('s1', grant('g1')));
      expect((await store.loadSession('s1'))?.grant.revocation).toEqual(revocations[0]);
    });

    test('lists grants newest first, narrowed as asked', async () => {
      const store = await make();
      const saved = [grant('ga'), grant('gb', { createdAt: at(3), principal: dora }), grant('h', { createdAt: at(2) })];
      for (const one of saved) await store.saveGrant(one);
      const ids = async (filter: object, limit = 10) => (await store.listGrants({ ...filter, limit })).map(({ id }) => id);
      expect(await ids({})).toEqual(['gb', 'h', 'ga']);
      expect(await ids({}, 1)).toEqual(['gb']);
      expect(await ids({ principal: erin })).toEqual(['h', 'ga']);
      expect(await ids({ idPrefix: 'g' })).toEqual(['gb', 'ga']);
      expect(await ids({ idPrefix: 'g', principal: dora })).toEqual(['gb']);
    });

    test('keeps a session with its grant', async () => {
      const store = await make();
      await store.saveGrant(grant('g1'));
      await store.saveSession(session('s1', grant('g1')));
      expect(await store.loadSession('s1')).toEqual(session('s1', grant('g1')));
      expect(await store.loadSession('s')).toBeUndefined();
    });

    test('refuses a session without a saved grant, and one that is there already', async () => {
      const store = await make();
      await expect(store.saveSession(session('s1', grant('g1')))).rejects.toThrow();
      await store.saveGrant(grant('g1'));
      await store.saveSession(session('s1', grant('g1')));
      await expect(store.saveSession(session('s1', grant('g1')))).rejects.toThrow();
    });

    test('ends a session once', async () => {
      const store = await make();
      await store.saveGrant(grant('g1'));
      await store.saveSession(session('s1', grant('g1')));
      const other = { ...end, reason: 'other' };
      const results = await Promise.all([store.endSession('s1', end), store.endSession('s1', other)]);
      expect(results).toEqual([true, false]);
      expect(await store.endSession('nobody', end)).toBe(false);
      expect(await store.loadSession('s1')).toEqual({ ...session('s1', grant('g1')), end });
    });

    test('keeps the chain behind a machine, and finds its sessions by the people in it', async () => {
      const store = await make();
      const chain = [
        { kind: 'workload', value: 'nightly', strength: 'verified', source: 'token' },
        { kind: 'commit', value: 'by hank', id: 'c0ffee', strength: 'claimed', source: 'client' },
        { kind: 'author', value: 'Zoë 100% "Z"\n', id: 'zoe@example.com', strength: 'claimed', source: 'client' },
        { kind: 'human', value: 'erin', id: 'sub-of-erin', url: 'https://id.example.com/erin', strength: 'verified', source: 'policy' },
      ] as const;
      const nightly = { ...dora, subject: 'repo:1', name: 'nightly', kind: 'workload', chain } as const;
      const saved = [grant('g1', { principal: nightly }), grant('g2'), grant('g3', { principal: { ...nightly, name: 'erin', chain: [] } })];
      for (const one of saved) {
        await store.saveGrant(one);
        await store.saveSession(session(`s${one.id}`, one));
      }
      expect(await store.loadGrant('g1')).toEqual(saved[0]);
      expect((await store.loadSession('sg1'))?.grant.principal).toEqual(nightly);
      const ids = async (humanPart: string) => (await store.listSessions({ humanPart, limit: 10 })).map(({ id }) => id).toSorted();
      expect(await ids('ERIN')).toEqual(['sg1', 'sg2']);
      expect(await ids('sub-of-e')).toEqual(['sg1']);
      expect(await ids('zoë 100%')).toEqual(['sg1']);
      expect(await ids('"z"')).toEqual(['sg1']);
      for (const nobody of ['hank', 'c0ffee', 'nightly', 'policy', 'claimed', 'https:', '$.kind', '\\n']) expect(await ids(nobody)).toEqual([]);
    });

    test('lists newest first, narrowed as asked', async () => {
      const store = await make();
      const other = grant('g2', { principal: { ...dora, issuer: 'https://other.example.com' } });
      const third = grant('g3', { principal: dora });
      for (const saved of [grant('g1'), other, third]) await store.saveGrant(saved);
      await store.saveSession(session('aa1', grant('g1'), at(1)));
      await store.saveSession(session('ab2', other, at(3)));
      await store.saveSession(session('a%3', third, at(2)));
      await store.saveSession(session('AA4', grant('g1'), at(4)));
      await store.endSession('ab2', end);
      const ids = async (filter: Omit<Parameters<GrantStore['listSessions']>[0], 'limit'>, limit = 100) =>
        (await store.listSessions({ ...filter, limit })).map(({ id }) => id);
      expect(await ids({})).toEqual(['AA4', 'ab2', 'a%3', 'aa1']);
      expect(await ids({}, 2)).toEqual(['AA4', 'ab2']);
      expect(await ids({ principal: erin })).toEqual(['AA4', 'aa1']);
      expect(await ids({ principal: dora })).toEqual(['a%3']);
      expect(await ids({ idPrefix: '' })).toHaveLength(4);
      expect(await ids({ idPrefix: 'a' })).toEqual(['ab2', 'a%3', 'aa1']);
      expect(await ids({ idPrefix: 'a%' })).toEqual(['a%3']);
      expect(await ids({ idPrefix: 'ab2' })).toEqual(['ab2']);
      expect(await ids({ isOpen: true })).toEqual(['AA4', 'a%3', 'aa1']);
      expect(await ids({ isOpen: false })).toEqual(['ab2']);
      expect(await ids({ idPrefix: 'a', isOpen: true, principal: erin })).toEqual(['aa1']);
      expect(await ids({ target: grant('g1').target, role: grant('g1').role })).toHaveLength(4);
      expect(await ids({ target: 'elsewhere' })).toEqual([]);
      expect(await ids({ role: 'elsewhere' })).toEqual([]);
      expect(await ids({ namePart: erin.name.toUpperCase() })).toEqual(['AA4', 'aa1']);
      expect(await ids({ namePart: erin.name, humanPart: dora.name })).toEqual([]);
      expect(await ids({ namePart: `${erin.name.slice(0, 1)}%` })).toEqual([]);
      expect(await ids({ namePart: `${erin.name.slice(0, 1)}_` })).toEqual([]);
      expect(await ids({ namePart: '\\' })).toEqual([]);
      expect(await ids({ to: at(2) })).toEqual(['a%3', 'aa1']);
      expect(await ids({ from: end.at })).toHaveLength(4);
      expect(await ids({ from: new Date(end.at.getTime() + 1) })).toEqual(['AA4', 'a%3', 'aa1']);
      expect(await ids({ after: { id: 'ab2', startedAt: at(3) } })).toEqual(['a%3', 'aa1']);
      expect(await ids({ after: { id: 'AA4', startedAt: at(4) } }, 1)).toEqual(['ab2']);
    });
  });
}
