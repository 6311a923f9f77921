/** What policy says to an inventory: the roles that it gives, and who holds more than they use or should. Pure. */
import type { Finding, InventoryEntry } from '../api/inventory-api.ts';
import type { RoleUse, SeenPrincipal } from '../grant/inventory.ts';
import { humanBehind, type Principal } from '../principal/principal.ts';
import { statementKinds, type StatementKind } from '../sql/kind.ts';
import { offboardingOf } from '../workload/offboarded.ts';
import { peopleBehind, workloadNameOf, workloadOf } from '../workload/people-behind.ts';
import type { Workload, Workloads } from '../workload/workload.ts';
import type { Policy, Role } from './role.ts';

export type InventoryTimes = { readonly since: Date; readonly dormantSince: Date };

type Given = { readonly target: string; readonly role: Role };

/** In a fixed order: by kind, name, issuer and subject. With the workloads of the policy that nobody has seen. */
export function takeInventory(policy: Policy, seen: readonly SeenPrincipal[], times: InventoryTimes): InventoryEntry[] {
  const names = new Set(seen.map(({ principal }) => workloadNameOf(principal)));
  const missing = policy.machines.workloads.filter(({ name }) => !names.has(name));
  const entries = [...seen.map((one) => entryOf(policy, one, times)), ...missing.map((workload) => unseen(policy, workload))];
  const key = ({ kind, name, issuer, subject }: InventoryEntry) => JSON.stringify([kind, name, issuer, subject ?? '']);
  return entries.map((entry) => ({ entry, by: key(entry) })).toSorted((one, other) => (one.by < other.by ? -1 : 1)).map(({ entry }) => entry);
}

function entryOf(policy: Policy, seen: SeenPrincipal, times: InventoryTimes): InventoryEntry {
  const { principal, uses, lastLoginAt, firstUsedAt, lastUsedAt } = seen;
  const { machines } = policy;
  const workload = workloadNameOf(principal);
  const groups = workload === undefined ? principal.groups : (workloadOf(machines, principal)?.groups ?? []);
  const given = rolesOf(policy, groups);
  const owner = peopleBehind(machines, principal).find(({ as }) => as === 'owner');
  const human = principal.kind === 'human' ? undefined : humanBehind(principal);
  const total = (count: (use: RoleUse) => number) => uses.reduce((sum, use) => sum + count(use), 0);
  return {
    issuer: principal.issuer,
    subject: principal.subject,
    name: principal.name,
    kind: principal.kind,
    ...(workload !== undefined && { workload }),
    ...(owner && { owner: personOf(owner.name, owner.subject) }),
    ...(human && { human: { ...personOf(human.value, human.id), strength: human.strength } }),
    ...(lastLoginAt && { lastLoginAt: lastLoginAt.toISOString() }),
    ...(firstUsedAt && { firstUsedAt: firstUsedAt.toISOString() }),
    ...(lastUsedAt && { lastUsedAt: lastUsedAt.toISOString() }),
    grants: total((use) => use.grants),
    sessions: total((use) => use.sessions),
    statements: total((use) => use.statements),
    refused: total((use) => use.refused),
    rows: total((use) => use.rows),
    kinds: statementKinds.filter((kind) => uses.some(({ kinds }) => kinds.includes(kind))),
    uses: uses.map(showUse),
    roles: given.map(({ target, role }) => ({ target, role: role.name })),
    findings: findingsOf(machines, seen, given, times),
  };
}

function showUse({ target, role, grants, sessions, statements, refused, rows, kinds }: RoleUse): InventoryEntry['uses'][number] {
  return { target, role, grants, sessions, statements, refused, rows, kinds: [...kinds] };
}

function unseen(policy: Policy, { name, issuer, groups, owner }: Workload): InventoryEntry {
  const { machines } = policy;
  const findings: Finding[] = [{ finding: 'never-seen', detail: `the policy has the workload ${name}, and it never came by` }];
  if (owner === undefined) findings.unshift(unowned(name));
  const counts = { grants: 0, sessions: 0, statements: 0, refused: 0, rows: 0 };
  return {
    issuer: machines.issuers.get(issuer)?.url ?? issuer,
    name,
    kind: 'workload',
    workload: name,
    ...(owner !== undefined && { owner: personOf(owner, machines.people.get(owner)?.subject) }),
    ...counts,
    kinds: [],
    uses: [],
    roles: rolesOf(policy, groups).map(({ target, role }) => ({ target, role: role.name })),
    findings,
  };
}

function findingsOf(machines: Workloads, seen: SeenPrincipal, given: readonly Given[], times: InventoryTimes): Finding[] {
  const { principal } = seen;
  const findings: Finding[] = [];
  if (isUnowned(machines, principal)) findings.push(unowned(principal.name));
  const gone = offboardingOf(machines, principal);
  // Nothing is given to whoever has left, so nothing of it is unused.
  if (gone !== undefined) return [{ finding: 'offboarded', detail: `${gone.who} has left: ${gone.reason}` }, ...findings];
  const last = seen.lastUsedAt ?? seen.firstGrantAt ?? seen.lastLoginAt;
  if (given.length > 0 && last !== undefined && last < times.dormantSince) {
    const detail = seen.lastUsedAt === undefined ? `never used, and known since ${last.toISOString()}` : `last used at ${last.toISOString()}`;
    return [...findings, { finding: 'dormant', detail }];
  }
  return [...findings, ...given.flatMap((one) => overScoped(one, seen.uses) ?? [])];
}

function isUnowned(machines: Workloads, principal: Principal): boolean {
  return workloadNameOf(principal) !== undefined && !peopleBehind(machines, principal).some(({ as }) => as === 'owner');
}

function unowned(name: string): Finding {
  return { finding: 'unowned', detail: `nobody answers for ${name}` };
}

function overScoped({ target, role }: Given, uses: readonly RoleUse[]): Finding | undefined {
  const finding = (detail: string): Finding => ({ finding: 'over-scoped', target, role: role.name, detail });
  const use = uses.find((one) => one.target === target && one.role === role.name);
  if (use === undefined || use.sessions === 0) return finding(`the role ${role.name} on ${target} was not used`);
  if (use.isPartial) return undefined;
  const unused = kindsGiven(role).filter((kind) => !use.kinds.includes(kind));
  if (unused.length === 0) return undefined;
  return finding(`the role ${role.name} on ${target} also allows ${unused.join(', ')}, and ran ${use.kinds.join(', ') || 'nothing'}`);
}

/** Those that can run at all, also with somebody's approval. */
function kindsGiven(role: Role): StatementKind[] {
  const all = [...role.allow, ...role.rules.flatMap(({ effect, kinds = [] }) => (effect === 'deny' ? [] : kinds))];
  return statementKinds.filter((kind) => all.includes(kind) && (!role.isReadOnly || kind === 'read'));
}

/** By groups alone: a condition may hold at another time. */
function rolesOf(policy: Policy, groups: readonly string[]): Given[] {
  return [...policy.targets].flatMap(([target, roles]) =>
    roles.filter((role) => role.groups.some((group) => groups.includes(group))).map((role) => ({ target, role })),
  );
}

function personOf(name: string, subject: string | undefined): { name: string; subject?: string } {
  return { name, ...(subject !== undefined && { subject }) };
}
