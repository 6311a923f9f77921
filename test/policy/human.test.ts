/** Conditions over the person behind a machine. */
import { expect, test } from 'vitest';
import { compileCondition } from '../../src/policy/condition.ts';
import { principalValue } from '../../src/policy/condition-values.ts';
import type { Link, Principal } from '../../src/principal/principal.ts';
import { person } from './some.ts';

const machine = (strength?: Link['strength']): Principal => ({
  ...person('migrate:x', 'ci'),
  kind: 'workload',
  chain: strength === undefined ? [] : [{ kind: 'human', value: 'ada', id: 'acct-ada', strength, source: 'policy' }],
});

test.each([
  ['has(principal.human)', [true, true, false, false]],
  ['has(principal.claimedHuman)', [false, false, true, false]],
  ['!has(principal.human) || principal.human != "acct-ada"', [true, false, true, true]],
  ['principal.kind == "workload" && has(principal.human) && principal.human == "acct-ada"', [false, true, false, false]],
])('%s', (source, expected) => {
  const condition = compileCondition(source, 'role');
  const of = (principal: Principal) => condition.test({ principal: principalValue(principal) });
  expect([person('acct-bob'), machine('verified'), machine('claimed'), machine()].map(of)).toEqual(expected.map((holds) => ({ holds })));
});
