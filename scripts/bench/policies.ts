/** The policies under which gate is measured: rules of the kinds that real ones have, and masks. */
import type { Durability } from '../../src/audit/durability.ts';
import type { DemoTarget } from '../../src/dev/stack-files.ts';
import type { Way } from './way.ts';

const approval = { by: ['dbas'], within: '10m' };

/** Rules that are looked at for every statement and decide on none of the benchmark's. */
export const rules: readonly object[] = [
  { name: 'payroll', effect: 'deny', tables: ['payroll.*', '*.salaries'], reason: 'nobody needs them here' },
  { name: 'server-files', effect: 'deny', functions: ['pg_read_file', 'pg_ls_dir', 'lo_import', 'lo_export'] },
  { name: 'ledger', effect: 'hold', kinds: ['write'], tables: ['public.ledger'], approval },
  { name: 'late', effect: 'deny', kinds: ['write'], tables: ['public.orders'], when: 'now.getHours() < 0' },
  { name: 'many-rows', effect: 'hold', commands: ['UPDATE', 'DELETE', 'MERGE', 'TRUNCATE'], bounded: false, approval },
];

const masks = {
  rules: [
    { name: 'cards', columns: ['public.bulk.card'], mask: { partial: { last: 4 } } },
    { name: 'rest', columns: ['id', 'name', 'email', 'remark'].map((column) => `public.bulk.${column}`), mask: 'clear' },
  ],
};

/** By how much is done to statements and rows. */
export const extras = {
  none: {},
  masks: { masks },
  detectors: { masks: { ...masks, detect: ['card', 'iban'] } },
} as const;

export type TargetPlan = { readonly name: string; readonly extra?: keyof typeof extras; readonly durability?: Durability; readonly warmUpstreams?: number; readonly rules?: readonly object[] };

export function policyOf(plans: readonly TargetPlan[]): object {
  const roleOf = (own: readonly object[] | undefined) => ({
    full: { groups: ['engineering'], allow: ['read', 'write'], require: ['reason'], maxDuration: '8h', rules: own ?? rules },
  });
  return {
    auditors: ['audit'],
    approvers: { dbas: { groups: ['dba'] } },
    targets: Object.fromEntries(plans.map((plan) => [plan.name, { ...extras[plan.extra ?? 'none'], roles: roleOf(plan.rules) }])),
  };
}

/** What relay.yaml says of a target that leads where a direct way leads. */
export function targetTo(direct: Way, name: string, durability: Durability = 'before-forward', warmUpstreams = 0): DemoTarget & { readonly durability: Durability; readonly warmUpstreams: number } {
  const { host, port, database, user, password } = direct;
  return { name, description: 'benchmark', host, port, database, user, password, tls: 'disable', durability, warmUpstreams };
}
