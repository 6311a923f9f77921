/** What a policy file may say, what becomes of it, and how its mistakes are told. */
import { describe, expect, test } from 'vitest';
import { parsePolicy, type Role } from '../../src/policy/policy.ts';
import { findPreset, presetTexts } from '../../src/policy/presets.ts';
import { problemOf } from './some.ts';

function roleOf(text: string, name = 'r'): Role {
  const role = parsePolicy(text, 'policy.yaml').targets.get('shop')?.find((one) => one.name === name);
  if (role === undefined) throw new Error(`there is no role ${name}`);
  return role;
}

const sets = 'approvers: { dba: { groups: [dba] }, two: { subjects: [ann, bob] } }\n';
const role = (fields: string, more = '') => `${sets}${more}targets: { shop: { roles: { r: { groups: [g], ${fields} } } } }`;
const rule = (fields: string) => role(`allow: [read], rules: [{ name: a, ${fields} }]`);

describe('a role', () => {
  test('everything it may say', () => {
    const parsed = roleOf(`
auditors: [audit]
administrators: [admins]
approvers:
  dba: { groups: [dba], subjects: [ann], when: request.requester.subject != approver.subject }
targets:
  shop:
    roles:
      r:
        groups: [g]
        when: now.getHours() >= 6
        allow: [read]
        require: [reason, ticket]
        ticketPattern: 'OPS-\\d+'
        maxDuration: 2h
        readOnly: true
        statementTimeout: 500ms
        rowsMax: 1000
        approval: { by: [dba], count: 2, denials: 3, within: 1h }
        rules:
          - name: a
            effect: hold
            kinds: [write]
            commands: [UPDATE, DROP *]
            tables: [public.orders, "*.users", "audit.*"]
            functions: [pg_sleep, app.total]
            bounded: false
            when: statement.locking
            reason: because
            approval: { by: [dba] }
            require: [ticket]
            rowsMax: { write: 5 }
            statementTimeout: 1m
`);
    expect(parsed).toMatchObject({
      name: 'r',
      allow: ['read'],
      require: ['reason', 'ticket'],
      maxDuration: 7200,
      isReadOnly: true,
      statementTimeoutMs: 500,
      rowsMax: { read: 1000, write: 1000 },
      approval: { by: ['dba'], count: 2, denials: 3, withinSeconds: 3600 },
      rules: [
        {
          path: 'shop/r/a',
          effect: 'hold',
          bounded: false,
          reason: 'because',
          approval: { by: ['dba'], count: 1, denials: 1, withinSeconds: 1800 },
          require: ['ticket'],
          rowsMax: { write: 5 },
          statementTimeoutMs: 60_000,
        },
      ],
    });
    expect(parsed.ticketPattern?.matches('OPS-17')).toBe(true);
    expect(parsed.ticketPattern?.matches('xOPS-17')).toBe(false);
    expect(parsed.rules[0]?.tables?.sources).toEqual(['public.orders', '*.users', 'audit.*']);
  });

  test('begins from another: its own fields win, its own rules come first', () => {
    const text = `${sets}
roles:
  base: { allow: [read], require: [reason], maxDuration: 8h, rules: [{ name: last, effect: deny, commands: [COPY] }] }
  middle: { use: base, maxDuration: 4h, groups: [m], rules: [{ name: second, effect: deny, commands: [LISTEN] }] }
targets:
  shop:
    roles:
      r: { use: middle, groups: [g], require: [], rules: [{ name: first, effect: deny, commands: [LOCK TABLE] }] }
      q: { use: middle }
`;
    expect(roleOf(text)).toMatchObject({ groups: ['g'], allow: ['read'], require: [], maxDuration: 14_400 });
    expect(roleOf(text).rules.map(({ path }) => path)).toEqual(['shop/r/first', 'shop/r/second', 'shop/r/last']);
    expect(roleOf(text, 'q')).toMatchObject({ groups: ['m'], require: ['reason'] });
  });

  test('approvers of the role stand in where an approval names none', () => {
    const text = `${sets}targets: { shop: { roles: { r: { groups: [g], allow: [read], approvers: [dba], approval: { count: 2 }, rules: [
      { name: a, effect: hold }, { name: b, effect: hold, approval: { by: [two], within: 5m } } ] } } } }`;
    expect(roleOf(text).approval).toEqual({ by: ['dba'], count: 2, denials: 1, withinSeconds: 1800 });
    expect(roleOf(text).rules.map(({ approval }) => [approval?.by, approval?.withinSeconds])).toEqual([[['dba'], 1800], [['two'], 300]]);
  });
});

describe('what is refused', () => {
  test.each([
    [role('allows: [read]'), 'policy.yaml:2:47: targets.shop.roles.r: unknown key "allows", did you mean "allow"?'],
    [rule('effekt: deny'), 'unknown key "effekt", did you mean "effect"?'],
    [rule('effect: deny, wehn: "true"'), 'unknown key "wehn", did you mean "when"?'],
    ['target: {}', 'unknown key "target", did you mean "targets"?'],
    [rule('effect: forbid'), 'targets.shop.roles.r.rules.0.effect: expected allow or hold or deny'],
    [rule('effect: deny, kinds: [writes]'), 'write kinds out of read, write, schema, admin, unknown'],
    [rule('effect: deny, commands: [drop]'), 'write a command tag in capitals'],
    [rule('effect: deny, commands: ["DROP*"]'), 'DROP * is each that begins so'],
    [rule('effect: deny, commands: [DELTE]'), 'there is no command "DELTE": did you mean "DELETE"?'],
    [rule('effect: deny, commands: [DORP *]'), 'there is no command "DORP *": did you mean "DROP *"?'],
    [rule('effect: deny, tables: [users]'), 'write schema.table, as in public.users'],
    [rule('effect: deny, tables: [pub*.users]'), 'write schema.table'],
    [rule('effect: deny, tables: ["?.users"]'), 'write schema.table'],
    [rule('effect: deny, tables: [a.b.c]'), 'write schema.table'],
    [rule('effect: deny, tables: []'), 'name at least one table'],
    [rule('effect: deny, functions: [pg_*]'), 'write pg_sleep for a built-in function'],
    [rule('effect: allow'), 'targets.shop.roles.r.rules.0: an allow rule needs kinds'],
    [rule('effect: allow, commands: [SELECT]'), 'an allow rule needs kinds'],
    [rule('effect: hold'), 'who may approve? Write approval: { by: [dba] } here, or approvers: [dba] in the role'],
    [rule('effect: hold, approval: { count: 2 }'), 'who may approve?'],
    [rule('effect: hold, approval: { by: [dab] }'), 'there is no approver set "dab": did you mean "dba"?'],
    [rule('effect: hold, approval: { by: [nobody] }'), 'there is no approver set "nobody": write one of dba, two'],
    [rule('effect: hold, approval: { by: [constructor] }'), 'there is no approver set "constructor"'],
    [rule('effect: hold, approval: { by: [two], count: 3 }'), 'it takes 3 approvals, and two together are 2 people'],
    [rule('effect: hold, approval: { by: [dba], count: 0 }'), 'must be at least 1'],
    [rule('effect: hold, approval: { by: [dba], within: soon }'), 'write a duration like 90s'],
    [rule('effect: deny, approval: { by: [dba] }'), 'approval goes with effect: hold, and this is deny'],
    [rule('effect: allow, kinds: [read], approval: { by: [dba] }'), 'approval goes with effect: hold, and this is allow'],
    [rule('effect: deny, rowsMax: 5'), 'what is denied has no limits'],
    [rule('effect: deny, bounded: false, maxRows: 1'), 'write one of the two'],
    [rule('effect: deny, maxRows: -1'), 'must be at least 0'],
    [role('allow: [read], rules: [{ name: allow, effect: deny }]'), '"allow" means something else in decisions'],
    [role('allow: [read], rules: [{ name: a, effect: deny }, { name: a, effect: deny }]'), 'another rule of this role has the name "a"'],
    [role('preset: engineer, approvers: [dba], rules: [{ name: reads, effect: deny }]'), 'another rule of its preset has the name "reads"'],
    [role('preset: engineer'), 'who may approve? Write approval: { by: [dba] } here, or approvers: [dba] in the role'],
    [role('preset: engeneer'), 'there is no preset "engeneer": did you mean "engineer"?'],
    [role('use: base'), 'there is no role "base": none is defined'],
    [role('use: bsae', 'roles: { base: { allow: [read] } }\n'), 'there is no role "bsae": did you mean "base"?'],
    [role('use: base, preset: engineer', 'roles: { base: { allow: [read] } }\n'), 'write either use or preset'],
    [role('use: a', 'roles: { a: { use: b }, b: { use: a } }\n'), 'go round in a circle'],
    [role('allow: [read], ticketPattern: "("'), 'targets.shop.roles.r.ticketPattern: this is no RE2 pattern'],
    [role('allow: [read], approval: { by: [dba] }, review: { by: [dba] }'), 'either approved before it is given or reviewed afterwards'],
    [role('allow: [read], when: "statement.locking"'), 'Unknown variable: statement'],
    [role('allow: [read], rowsMax: 0'), 'rowsMax'],
    [role('allow: [read], rowsMax: { reed: 5 }'), 'rowsMax'],
    [role('allow: [read], statementTimeout: 5'), 'expected text'],
    [role('allow: [read], statementTimeout: 5d'), 'write a time like 500ms, 30s or 5m'],
    [role('allow: [read]', 'roles: { unused: { when: "nonsense" } }\n'), 'roles.unused.when: Unknown variable: nonsense'],
    [role('allow: [read]', 'roles: { unused: { rules: [{ name: a, effect: allow }] } }\n'), 'roles.unused.rules.0: an allow rule needs kinds'],
    ['approvers: { none: {} }\ntargets: {}', 'policy.yaml:1:20: approvers.none: it names nobody: write groups, subjects or when'],
    ['approvers: { x: { groups: [] } }\ntargets: {}', 'name at least one group'],
    ['approvers: { x: { when: "approver.age > 3" } }\ntargets: {}', 'No such key: age'],
    ['targets: { shop: { roles: { r: { preset: read-only } } } }', 'targets.shop.roles.r.groups: missing, write a list of the groups'],
    ['targets: { shop: { roles: { r: { groups: [g] } } } }', 'targets.shop.roles.r.allow: missing, write a list of kinds, or rules'],
  ])('%j', (text, problem) => {
    const message = problemOf(text);
    expect(message).toContain(problem);
    expect(message).not.toContain('Invalid input');
    expect(message).not.toContain('undefined');
    for (const line of message.split('\n')) expect(line).toMatch(/^policy\.yaml:\d+:\d+: /);
  });

  test('all mistakes are told at once, each once', () => {
    const text = `${sets}roles: { base: { rules: [{ name: a, effect: hold, when: "nope" }] } }
targets: { one: { roles: { r: { use: base, groups: [g] } } }, two: { roles: { r: { use: base, groups: [g] } } } }`;
    expect(problemOf(text).split('\n')).toEqual([
      'policy.yaml:2:58: roles.base.rules.0.when: Unknown variable: nope, write one of principal, grant, target, statement, now',
      'policy.yaml:2:26: roles.base.rules.0: who may approve? Write approval: { by: [dba] } here, or approvers: [dba] in the role',
    ]);
  });
});

describe('presets', () => {
  test.each([...presetTexts.keys()])('%s is a role like any other, and says in its first line what it is', (name) => {
    expect(presetTexts.get(name)).toMatch(/^# [A-Z].*\.\n/);
    expect(findPreset(name)).toBeDefined();
    expect(roleOf(role(`preset: ${name}, approvers: [dba]`)).name).toBe('r');
    const copied = (presetTexts.get(name) ?? '').split('\n').map((line) => `        ${line}`).join('\n');
    const text = `${sets}targets:\n  shop:\n    roles:\n      r:\n        groups: [g]\n        approvers: [dba]\n${copied}`;
    expect(JSON.stringify(roleOf(text))).toBe(JSON.stringify(roleOf(role(`preset: ${name}, approvers: [dba]`))));
  });
});
