/** From the keys of a policy file to roles and rules: bases taken in, names looked up, conditions compiled, mistakes told. */
import type { ApprovalRule } from '../grant/request.ts';
import { messageOf } from '../errors/errors.ts';
import type { Report } from '../yaml/yaml-file.ts';
import { adviseName } from '../yaml/nearest.ts';
import { commandProblem } from './commands.ts';
import { compileCondition, ConditionError, type Condition, type Place } from './condition.ts';
import { createCommandPattern, createFunctionPattern, createTablePattern, createTextPattern } from './pattern.ts';
import type { ApprovalFile, PolicyFile, RoleFile, RuleFile } from './policy-file.ts';
import { findPreset, presetTexts } from './presets.ts';
import { resolveMasks } from './resolve-masks.ts';
import { resolveWorkloads } from './resolve-workloads.ts';
import type { ApproverSet, Policy, Role, RowLimits, Rule, TargetMasks } from './role.ts';

type Path = readonly PropertyKey[];
type ApproverSetFile = NonNullable<PolicyFile['approvers']>[string];

/** Names that decisions use for something else than a rule. */
const reservedNames = new Set(['allow', 'default', 'groups', 'when', 'require', 'read-only', 'approval', 'review', 'ticket']);

const maxDurationDefault = 3600;
const withinDefault = 30 * 60;
/** Bases of bases are followed so far. */
const basesMax = 10;

export function resolvePolicy(file: PolicyFile, report: Report): Omit<Policy, 'digest' | 'text'> {
  const resolver = new Resolver(file, report);
  const approvers = new Map(
    Object.entries(file.approvers ?? {}).map(([name, set]) => [name, resolver.approverSet(name, set)]),
  );
  for (const [name, role] of Object.entries(file.roles ?? {})) resolver.checkRole(role, ['roles', name]);
  const targets = Object.entries(file.targets).map(([target, { roles }]): [string, readonly Role[]] => [
    target,
    Object.entries(roles).map(([name, role]) => resolver.role(target, name, role)),
  ]);
  const masks = Object.entries(file.targets).flatMap(([target, { masks: own, roles }]): [string, TargetMasks][] =>
    own === undefined ? [] : [[target, resolveMasks(target, own, { tags: file.tags ?? {}, roles: Object.keys(roles) }, report)]],
  );
  return {
    masks: new Map(masks),
    machines: resolveWorkloads(file, report),
    auditors: file.auditors ?? [],
    administrators: file.administrators ?? [],
    approvers,
    targets: new Map(targets),
  };
}

class Resolver {
  readonly #roles: ReadonlyMap<string, RoleFile>;
  readonly #approvers: ReadonlyMap<string, ApproverSetFile>;
  readonly #report: Report;
  /** The same text at the same kind of place is compiled once; undefined for one that is wrong. */
  readonly #conditions = new Map<string, Condition | undefined>();

  constructor(file: PolicyFile, report: Report) {
    this.#roles = new Map(Object.entries(file.roles ?? {}));
    this.#approvers = new Map(Object.entries(file.approvers ?? {}));
    this.#report = report;
  }

  approverSet(name: string, set: ApproverSetFile): ApproverSet {
    const { groups = [], subjects = [], when } = set;
    const path = ['approvers', name];
    if (groups.length === 0 && subjects.length === 0 && when === undefined) {
      this.#report(path, 'it names nobody: write groups, subjects or when');
    }
    const condition = this.#condition(when, 'approvers', [...path, 'when']);
    return { name, groups, subjects, ...(condition && { when: condition }) };
  }

  /** Tells what is wrong in the definition itself, its bases aside. */
  checkRole(role: RoleFile, path: Path): void {
    if (role.use !== undefined && role.preset !== undefined) this.#report([...path, 'use'], 'write either use or preset');
    if (role.use !== undefined && !this.#roles.has(role.use)) {
      this.#unknown('role', role.use, [...this.#roles.keys()], [...path, 'use']);
    }
    if (role.preset !== undefined && findPreset(role.preset) === undefined) {
      this.#unknown('preset', role.preset, [...presetTexts.keys()], [...path, 'preset']);
    }
    this.#checkSets(role.approvers, [...path, 'approvers']);
    this.#checkSets(role.approval?.by, [...path, 'approval', 'by']);
    this.#checkSets(role.review?.by, [...path, 'review', 'by']);
    this.#condition(role.when, 'role', [...path, 'when']);
    if (role.ticketPattern !== undefined) this.#checkPattern(role.ticketPattern, [...path, 'ticketPattern']);
    for (const [index, rule] of (role.rules ?? []).entries()) this.#checkRule(rule, [...path, 'rules', index]);
  }

  #checkRule(rule: RuleFile, path: Path): void {
    this.#checkSets(rule.approval?.by, [...path, 'approval', 'by']);
    this.#condition(rule.when, 'rule', [...path, 'when']);
    if (reservedNames.has(rule.name)) this.#report([...path, 'name'], `"${rule.name}" means something else in decisions: choose another name`);
    for (const [index, command] of (rule.commands ?? []).entries()) {
      const problem = commandProblem(command);
      if (problem !== undefined) this.#report([...path, 'commands', index], problem);
    }
    if (rule.effect === 'allow' && rule.kinds === undefined) {
      this.#report(path, 'an allow rule needs kinds: say whether it is about read, write, schema, admin or unknown statements');
    }
    if (rule.effect !== 'hold' && rule.approval !== undefined) {
      this.#report([...path, 'approval'], `approval goes with effect: hold, and this is ${rule.effect}`, { ofKey: true });
    }
    if (rule.effect === 'deny') {
      for (const field of ['require', 'rowsMax', 'statementTimeout', 'recordRows'] as const) {
        if (rule[field] !== undefined) this.#report([...path, field], 'what is denied has no limits or requirements', { ofKey: true });
      }
    }
    if (rule.bounded === false && rule.maxRows !== undefined) {
      this.#report([...path, 'maxRows'], 'nothing that is unbounded is proven to change at most so many rows: write one of the two', { ofKey: true });
    }
  }

  #checkSets(names: readonly string[] | undefined, path: Path): void {
    const known = [...this.#approvers.keys()];
    for (const [index, name] of (names ?? []).entries()) {
      if (!known.includes(name)) this.#unknown('approver set', name, known, [...path, index]);
    }
  }

  #checkPattern(source: string, path: Path): void {
    try {
      createTextPattern(source, { isWhole: true });
    } catch (error) {
      this.#report(path, `this is no RE2 pattern: ${messageOf(error)}`);
    }
  }

  #unknown(what: string, name: string, known: readonly string[], path: Path): void {
    this.#report(path, `there is no ${what} "${name}": ${adviseName(name, known)}`);
  }

  #condition(source: string | undefined, place: Place, path: Path): Condition | undefined {
    if (source === undefined) return undefined;
    const key = `${place}\0${source}`;
    if (this.#conditions.has(key)) return this.#conditions.get(key);
    let condition: Condition | undefined;
    try {
      condition = compileCondition(source, place);
    } catch (error) {
      if (!(error instanceof ConditionError)) throw error;
      this.#report(path, error.message, { offset: error.offset });
    }
    this.#conditions.set(key, condition);
    return condition;
  }

  role(target: string, name: string, own: RoleFile): Role {
    const path = ['targets', target, 'roles', name];
    this.checkRole(own, path);
    const { merged, rules } = this.#merge(own, path);
    if (merged.groups === undefined) this.#report([...path, 'groups'], 'missing, write a list of the groups that may take the role');
    if (merged.allow === undefined && rules.length === 0) this.#report([...path, 'allow'], 'missing, write a list of kinds, or rules');
    if (merged.approval !== undefined && merged.review !== undefined) {
      this.#report([...path, own.review === undefined ? 'approval' : 'review'], 'a role is either approved before it is given or reviewed afterwards');
    }
    const approvalOf = (approval: ApprovalFile | undefined, at: Path) => approval && this.#approval(approval, merged, path, at);
    const approval = approvalOf(merged.approval, [...path, 'approval']);
    const review = approvalOf(merged.review, [...path, 'review']);
    const compiled = rules.map(({ rule, at }) => this.#rule(rule, `${target}/${name}`, merged, { at, rolePath: path }));
    const when = this.#condition(merged.when, 'role', [...path, 'when']);
    const rowsMax = rowLimits(merged.rowsMax);
    return {
      name,
      groups: merged.groups ?? [],
      allow: merged.allow ?? [],
      require: merged.require ?? [],
      maxDuration: merged.maxDuration ?? maxDurationDefault,
      isReadOnly: merged.readOnly === true || readsOnly(merged, rules.map(({ rule }) => rule)),
      rules: compiled,
      ...(when && { when }),
      ...(merged.ticketPattern !== undefined && this.#ticketPattern(merged.ticketPattern)),
      ...(merged.statementTimeout !== undefined && { statementTimeoutMs: merged.statementTimeout }),
      ...(merged.recordRows !== undefined && { recordRows: merged.recordRows }),
      ...(rowsMax && { rowsMax }),
      ...(approval && { approval }),
      ...(review && { review }),
    };
  }

  #ticketPattern(source: string): Pick<Role, 'ticketPattern'> {
    try {
      return { ticketPattern: createTextPattern(source, { isWhole: true }) };
    } catch {
      // Told where it is defined.
      return {};
    }
  }

  /** The fields of the role itself, then those of its bases; the rules of all of them in this order. */
  #merge(own: RoleFile, path: Path): { merged: RoleFile; rules: { rule: RuleFile; at: Path | undefined }[] } {
    let merged: RoleFile = {};
    const rules: { rule: RuleFile; at: Path | undefined }[] = [];
    const seen = new Map<string, Path | undefined>();
    let current: RoleFile | undefined = own;
    let at: Path | undefined = path;
    for (let depth = 0; current !== undefined; depth++) {
      if (depth > basesMax) {
        this.#report([...path, 'use'], `the roles that it uses go round in a circle, or are more than ${basesMax}`);
        break;
      }
      merged = { ...current, ...merged };
      for (const [index, rule] of (current.rules ?? []).entries()) {
        const place: Path | undefined = at && [...at, 'rules', index];
        if (seen.has(rule.name)) {
          const whose = place === undefined ? 'its preset' : at === path ? 'this role' : 'the role that it uses';
          this.#report([...(seen.get(rule.name) ?? place ?? path), 'name'], `another rule of ${whose} has the name "${rule.name}"`);
        }
        seen.set(rule.name, place);
        rules.push({ rule, at: place });
      }
      const next: string | undefined = current.use;
      at = next === undefined ? undefined : ['roles', next];
      current = next === undefined ? findPreset(current.preset ?? '') : this.#roles.get(next);
    }
    return { merged, rules };
  }

  #rule(rule: RuleFile, role: string, merged: RoleFile, where: { at: Path | undefined; rolePath: Path }): Rule {
    const { name, effect, kinds, commands, tables, functions, bounded, maxRows, reason, statementTimeout, recordRows } = rule;
    const when = this.#condition(rule.when, 'rule', [...(where.at ?? where.rolePath), 'when']);
    const approval = effect === 'hold' ? this.#approval(rule.approval ?? {}, merged, where.rolePath, where.at) : undefined;
    const rowsMax = rowLimits(rule.rowsMax);
    return {
      path: `${role}/${name}`,
      name,
      effect,
      require: rule.require ?? [],
      ...(kinds && { kinds }),
      ...(commands && { commands: createCommandPattern(commands) }),
      ...(tables && { tables: createTablePattern(tables) }),
      ...(functions && { functions: createFunctionPattern(functions) }),
      ...(bounded !== undefined && { bounded }),
      ...(maxRows !== undefined && { maxRows }),
      ...(when && { when }),
      ...(reason !== undefined && { reason }),
      ...(approval && { approval }),
      ...(rowsMax && { rowsMax }),
      ...(statementTimeout !== undefined && { statementTimeoutMs: statementTimeout }),
      ...(recordRows !== undefined && { recordRows }),
    };
  }

  /** `at` is where it stands, undefined for one of a preset. */
  #approval(approval: ApprovalFile, role: RoleFile, rolePath: Path, at: Path | undefined): ApprovalRule {
    const by = approval.by ?? role.approvers ?? [];
    const rule = { by, count: approval.count ?? 1, denials: approval.denials ?? 1, withinSeconds: approval.within ?? withinDefault };
    if (by.length === 0) {
      const [example = 'a set of approvers:'] = this.#approvers.keys();
      this.#report(at ?? rolePath, `who may approve? Write approval: { by: [${example}] } here, or approvers: [${example}] in the role`);
    }
    const sets = by.map((name) => this.#approvers.get(name));
    const people = new Set(sets.flatMap((set) => set?.subjects ?? []));
    const isCounted = sets.length > 0 && sets.every((set) => set?.subjects !== undefined && set.groups === undefined);
    if (isCounted && people.size < rule.count) {
      this.#report(at ?? rolePath, `it takes ${rule.count} approvals, and ${by.join(', ')} together ${people.size === 1 ? 'is one person' : `are ${people.size} people`}`);
    }
    return rule;
  }
}

function rowLimits(value: RoleFile['rowsMax']): RowLimits | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'number') return { read: value, write: value };
  return { ...(value.read !== undefined && { read: value.read }), ...(value.write !== undefined && { write: value.write }) };
}

/** Nothing but reads can ever run, whatever is approved. */
function readsOnly(role: RoleFile, rules: readonly RuleFile[]): boolean {
  const isRead = (kinds: RoleFile['allow']) => kinds?.every((kind) => kind === 'read') === true;
  return isRead(role.allow ?? []) && rules.every(({ effect, kinds }) => effect === 'deny' || isRead(kinds));
}
