/** The policy file, and the two decisions: tables of who may take which role, and what runs under it. */
import { describe, expect, test } from 'vitest';
import { GateError } from '../../src/errors/errors.ts';
import type { Grant } from '../../src/grant/grant.ts';
import { admit, decide, isAuditor, isReadOnly, rolesFor } from '../../src/policy/decide.ts';
import { factsOfKinds } from '../../src/policy/kinds-only.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import type { Principal } from '../../src/principal/principal.ts';
import { statementKinds, type StatementKind } from '../../src/sql/kind.ts';

const text = `
auditors: [audit]
targets:
  shop:
    roles:
      engineer: { groups: [engineering], allow: [read, write], require: [reason], maxDuration: 8h }
      reader: { groups: [engineering, operations], allow: [read] }
      dba: { groups: [dba], allow: [read, write, schema, admin, unknown], maxDuration: 90s }
  lake:
    roles:
      reader: { groups: [dba], allow: [read] }
`;
const policy = parsePolicy(text, 'policy.yaml');
const now = new Date('2026-05-04T10:00:00Z');
const shop = { name: 'shop' };

function someone(...groups: string[]): Principal {
  return { issuer: 'https://id', subject: 's', kind: 'human', name: 'n', groups };
}

function grantOf(role: string, groups: readonly string[], changes: Partial<Grant> = {}): Grant {
  const expiresAt = new Date('2026-05-04T11:00:00Z');
  return { id: 'g1', principal: someone(...groups), target: 'shop', role, createdAt: now, expiresAt, ...changes };
}

describe('the file', () => {
  test('roles keep the order of the file, defaults are filled in, the digest is of the text', () => {
    expect(policy.targets.get('shop')?.map(({ name, maxDuration, require }) => [name, maxDuration, require])).toEqual([
      ['engineer', 28_800, ['reason']],
      ['reader', 3600, []],
      ['dba', 90, []],
    ]);
    expect(policy.digest).toMatch(/^[\da-f]{64}$/);
    expect(parsePolicy(`${text}\n`, 'policy.yaml').digest).not.toBe(policy.digest);
  });

  const role = (fields: string) => `targets: { shop: { roles: { r: { ${fields} } } } }`;
  test.each([
    ['', 'targets: missing, write a mapping of names to values'],
    ['targets: { shop: {} }', 'targets.shop.roles: missing, write a mapping of names to values'],
    ['targets: { Shop: { roles: {} } }', 'targets.Shop: the name is not valid: write a name of a-z'],
    ['targets: { "../x": { roles: {} } }', 'targets.../x: the name is not valid'],
    ['targets: { "7": { roles: {} } }', 'not of digits alone'],
    [`targets: { ${'a'.repeat(64)}: { roles: {} } }`, 'the name is not valid'],
    [role('allow: [read]'), 'targets.shop.roles.r.groups: missing, write a list'],
    [role('groups: [], allow: [read]'), 'targets.shop.roles.r.groups: name at least one group'],
    [role('groups: [""], allow: [read]'), 'targets.shop.roles.r.groups.0: must not be empty'],
    [role('groups: g, allow: [read]'), 'targets.shop.roles.r.groups: expected a list'],
    [role('groups: [7], allow: [read]'), 'targets.shop.roles.r.groups.0: expected text'],
    [role('groups: [g]'), 'targets.shop.roles.r.allow: missing, write a list'],
    [role('groups: [g], allow: []'), 'targets.shop.roles.r.allow: name at least one kind'],
    [role('groups: [g], allow: [reed]'), 'targets.shop.roles.r.allow.0: write kinds out of read, write, schema, admin, unknown'],
    [role('groups: [g], allow: all'), 'targets.shop.roles.r.allow: expected a list'],
    [role('groups: [g], allow: [read], deny: [write]'), 'targets.shop.roles.r: unknown key "deny"'],
    [role('groups: [g], allow: [read], require: [raison]'), 'targets.shop.roles.r.require.0: expected reason'],
    [role('groups: [g], allow: [read], maxDuration: 0h'), 'write a duration like 90s, 30m or 8h'],
    [role('groups: [g], allow: [read], maxDuration: 8'), 'targets.shop.roles.r.maxDuration: expected text'],
    [role('groups: [g], allow: [read], maxDuration: 1d'), 'write a duration like 90s, 30m or 8h'],
    [role('groups: [g], groups: [h], allow: [read]'), 'Map keys must be unique'],
    ['auditors: x\ntargets: {}', 'policy.yaml:1:11: auditors: expected a list'],
    ['targets: {}\nmasks: {}', 'policy.yaml:2:1: unknown key "masks"'],
  ])('%j is refused', (file, problem) => {
    let refused: unknown;
    try {
      parsePolicy(file, 'policy.yaml');
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(GateError);
    expect(refused).toMatchObject({ code: 'config-invalid' });
    expect((refused as GateError).message).toMatch(/^policy\.yaml:\d+:\d+: /);
    expect((refused as GateError).message).toContain(problem);
    expect((refused as GateError).message).not.toContain('Invalid input');
  });
});

describe('rolesFor', () => {
  test.each([
    [['engineering'], 'shop', ['engineer', 'reader']],
    [['dba', 'engineering'], 'shop', ['engineer', 'reader', 'dba']],
    [['operations'], 'shop', ['reader']],
    [['dba'], 'lake', ['reader']],
    [['engineering'], 'lake', []],
    [['Engineering'], 'shop', []],
    [['engineering '], 'shop', []],
    [[], 'shop', []],
    [['dba'], 'nowhere', []],
    [['dba'], 'constructor', []],
    [['dba'], '__proto__', []],
  ])('%j on %s may take %j', (groups, target, names) => {
    expect(rolesFor(policy, someone(...groups), target, now).map(({ name }) => name)).toEqual(names);
  });
});

describe('admit', () => {
  test.each([
    [['engineering'], { target: 'shop', reason: 'r' }, 'engineer'],
    [['engineering'], { target: 'shop', role: 'reader' }, 'reader'],
    [['operations'], { target: 'shop' }, 'reader'],
    [['operations'], { target: 'shop', role: undefined, reason: undefined }, 'reader'],
  ])('%j asking %j gets %s', (groups, request, name) => {
    expect(admit(policy, someone(...groups), request, now).name).toBe(name);
  });

  test.each([
    [['engineering'], { target: 'shop' }, 'reason-required', 'shop/engineer/require'],
    [['engineering'], { target: 'shop', reason: ' \t\n' }, 'reason-required', 'shop/engineer/require'],
    [['engineering'], { target: 'shop', role: 'dba', reason: 'r' }, 'denied', 'shop/dba/groups'],
    [['engineering'], { target: 'shop', role: '', reason: 'r' }, 'denied', 'shop//groups'],
    [['engineering'], { target: 'shop', role: 'nobody', reason: 'r' }, 'denied', 'shop/nobody/groups'],
    [['engineering'], { target: 'lake', reason: 'r' }, 'target-unknown', undefined],
    [['engineering'], { target: 'nowhere', reason: 'r' }, 'target-unknown', undefined],
    [[], { target: 'shop', reason: 'r' }, 'target-unknown', undefined],
  ])('%j asking %j: %s', (groups, request, code, rule) => {
    expect(() => admit(policy, someone(...groups), request, now)).toThrow(expect.objectContaining({ code, rule }) as Error);
  });

  test('a target that is there and one that is not are refused in the same words', () => {
    const words = ['lake', 'nowhere'].map((target) => {
      try {
        admit(policy, someone('engineering'), { target }, now);
      } catch (error) {
        return (error as GateError).message.replace(target, 'X');
      }
    });
    expect(words[0]).toBeDefined();
    expect(words[0]).toBe(words[1]);
  });
});

describe('decide', () => {
  const allowed: Record<string, readonly StatementKind[]> = { engineer: ['read', 'write'], reader: ['read'], dba: statementKinds };
  const rows = Object.keys(allowed).flatMap((role) => statementKinds.map((kind) => [role, kind] as const));
  test.each(rows)('role %s, kind %s', (role, kind) => {
    const groups = role === 'dba' ? ['dba'] : ['engineering'];
    const decision = decide({ facts: factsOfKinds([kind]), target: shop, grant: grantOf(role, groups), policy, now });
    expect(decision).toMatchObject({ effect: allowed[role]?.includes(kind) ? 'allow' : 'deny', rule: `shop/${role}/allow` });
    expect(decision.reason).not.toBe('');
  });

  test.each([
    [['read', 'write'], 'allow'],
    [['read', 'schema'], 'deny'],
    [['schema', 'read'], 'deny'],
    [[], 'allow'],
  ] as const)('every kind of a text counts: %j', (kinds, effect) => {
    expect(decide({ facts: factsOfKinds(kinds), target: shop, grant: grantOf('engineer', ['engineering']), policy, now }).effect).toBe(effect);
  });

  test('a grant ends at its moment, not after it', () => {
    const grant = grantOf('reader', ['engineering']);
    const at = (ms: number) => decide({ facts: factsOfKinds(['read']), target: shop, grant, policy, now: new Date(grant.expiresAt.getTime() + ms) });
    expect(at(-1).effect).toBe('allow');
    expect(at(0)).toMatchObject({ effect: 'deny', rule: 'grant-expired' });
    expect(at(1)).toMatchObject({ effect: 'deny', rule: 'grant-expired' });
  });

  test('a policy that no longer gives the role ends it for live grants', () => {
    const input = { facts: factsOfKinds(['read']), target: shop, policy, now };
    expect(decide({ ...input, grant: grantOf('engineer', ['operations']) })).toMatchObject({ effect: 'deny', rule: 'shop/engineer/groups' });
    expect(decide({ ...input, grant: grantOf('gone', ['dba']) })).toMatchObject({ effect: 'deny', rule: 'shop/gone/groups' });
    expect(decide({ ...input, grant: grantOf('reader', ['dba'], { target: 'gone' }) }).effect).toBe('deny');
    expect(decide({ ...input, facts: [], grant: grantOf('gone', ['dba']) }).effect).toBe('deny');
  });
});

test.each<[string, boolean]>([
  ['allow: [read]', true],
  ['allow: [read, write]', false],
  ['allow: [read], rules: [{ name: a, effect: allow, kinds: [write] }]', false],
  ['allow: [read], rules: [{ name: a, effect: hold, approval: { by: [x] } }]', false],
  ['allow: [read], rules: [{ name: a, effect: hold, kinds: [read], approval: { by: [x] } }]', true],
  ['allow: [read], rules: [{ name: a, effect: deny }]', true],
  ['rules: [{ name: a, effect: allow, kinds: [read] }]', true],
  ['allow: [read, write], readOnly: true', true],
  ...statementKinds.filter((one) => one !== 'read').map((kind) => [`allow: [read, ${kind}]`, false] as [string, boolean]),
])('%s: read-only sessions are %j', (fields, expected) => {
  const file = `approvers: { x: { groups: [x] } }\ntargets: { shop: { roles: { r: { groups: [g], ${fields} } } } }`;
  const [role] = parsePolicy(file, 'policy.yaml').targets.get('shop') ?? [];
  expect(role && isReadOnly(role)).toBe(expected);
});

test('auditors are named by group', () => {
  expect(isAuditor(policy, someone('audit'))).toBe(true);
  expect(isAuditor(policy, someone('dba', 'engineering'))).toBe(false);
});
