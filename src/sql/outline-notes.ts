/** What is gathered for an outline while a parse tree is walked; without repetition, however long the text. */
import type { StatementKind } from './kind.ts';
import type { Parameters } from './bounds.ts';
import type { Change, FunctionUse, ObjectName, RelationUse, RowLock, RowsOutline, SettingChange, StatementOutline } from './outline.ts';

export type Node = { readonly [field: string]: unknown };

export class Notes {
  readonly #commands = new Set<string>();
  readonly #reads = new Map<string, RelationUse>();
  readonly #changes: Change[] = [];
  readonly #functions = new Map<string, FunctionUse>();
  readonly #operators = new Map<string, ObjectName>();
  readonly #types = new Map<string, ObjectName>();
  readonly #settings = new Set<string>();
  readonly #settingChanges: SettingChange[] = [];
  readonly #executes = new Set<string>();
  readonly #fetches: string[] = [];
  /** Names in FROM that stand for a function's result: x.f may then be a call. */
  readonly functionAliases = new Set<string>();
  /** Types of $1 and so on that PREPARE declares. */
  parameterTypes: readonly string[] = [];
  isUnbounded = false;
  isLocking = false;
  changesRole = false;
  runsCode = false;
  transaction: string | undefined;
  readonly #locks: RowLock[] = [];
  #parameterUses: Map<number, number> | undefined;

  /** Of the whole statement, in which a parameter has one type. */
  constructor(private readonly root: Node) {}

  get parameters(): Parameters {
    return { types: this.parameterTypes, isRepeated: (number) => ((this.#parameterUses ??= countParameters(this.root)).get(number) ?? 0) > 1 };
  }

  command(tag: string): void {
    this.#commands.add(tag);
  }

  read(relation: Node, isOnly = relation['inh'] !== true): void {
    const use = { ...relationName(relation), ...(isOnly && { isOnly }) };
    this.#reads.set(`${use.schema ?? ''}\0${use.name}\0${isOnly}`, use);
  }

  change(relation: Node, change: Pick<Change, 'action'> & Partial<Change>): void {
    this.#changes.push({ ...relationName(relation), ...(relation['inh'] !== true && { isOnly: true }), ...change });
  }

  lock(relation: Node, rows: RowsOutline | undefined): void {
    this.#locks.push({ ...relationName(relation), ...(relation['inh'] !== true && { isOnly: true }), ...(rows && { rows }) });
  }

  define(relation: Node, more: Partial<Change> = {}): void {
    this.change(relation, { action: 'define', ...more });
  }

  /** A relation, or all of a schema, that stands as a list of names. */
  defineNamed(name: ObjectName, more: Partial<Change> = {}): void {
    this.#changes.push({ ...name, action: 'define', ...more });
  }

  call(name: ObjectName, as: FunctionUse['as']): void {
    this.#functions.set(`${as}\0${name.schema ?? ''}\0${name.name}`, { ...name, as });
  }

  operator(name: ObjectName): void {
    this.#operators.set(`${name.schema ?? ''}\0${name.name}`, name);
  }

  type(name: ObjectName): void {
    if (name.schema !== 'pg_catalog') this.#types.set(`${name.schema ?? ''}\0${name.name}`, name);
  }

  /** `isOwn`: of this session, not of a role or database. */
  setting(change: SettingChange, isOwn: boolean): void {
    this.#settings.add(change.name);
    if (isOwn) this.#settingChanges.push(change);
    if (change.name === 'role' || change.name === 'session_authorization' || change.name === '?') this.changesRole = true;
  }

  fetch(name: string): void {
    this.#fetches.push(name);
  }

  execute(name: string): void {
    this.#executes.add(name);
  }

  finish(kinds: readonly StatementKind[], isPlanOnly: boolean): StatementOutline {
    const commands = [...this.#commands];
    // What a plan would change is read nevertheless: its estimates speak of the rows.
    if (isPlanOnly) for (const { action: _, rows: __, columns: ___, ...use } of this.#changes) this.#reads.set(`${use.schema ?? ''}\0${use.name}\0`, use);
    const functions = [...this.#functions.values()];
    return {
      command: commands[0] ?? '',
      commands: isPlanOnly ? commands.slice(0, 1) : commands,
      kinds,
      reads: [...this.#reads.values()],
      changes: isPlanOnly ? [] : this.#changes,
      locks: isPlanOnly ? [] : this.#locks,
      functions: functions.map((use) => (use.as === 'column' && this.functionAliases.has(use.schema ?? '') ? { ...use, as: 'field' as const } : use)).map(
        (use) => (use.as === 'call' ? use : { name: use.name, as: use.as }),
      ),
      operators: [...this.#operators.values()],
      types: [...this.#types.values()],
      isUnbounded: !isPlanOnly && this.isUnbounded,
      isLocking: !isPlanOnly && this.isLocking,
      ...(this.transaction !== undefined && { transaction: this.transaction }),
      settings: isPlanOnly ? [] : [...this.#settings],
      settingChanges: isPlanOnly ? [] : this.#settingChanges,
      changesRole: !isPlanOnly && this.changesRole,
      runsCode: this.runsCode,
      fetches: this.#fetches,
      executes: [...this.#executes],
    };
  }
}

function countParameters(root: Node): Map<number, number> {
  const uses = new Map<number, number>();
  const stack: unknown[] = [root];
  while (stack.length > 0) {
    const value = stack.pop();
    if (typeof value !== 'object' || value === null) continue;
    const parameter = (value as { ParamRef?: { number?: number } }).ParamRef;
    if (parameter !== undefined) uses.set(parameter.number ?? 0, (uses.get(parameter.number ?? 0) ?? 0) + 1);
    for (const child of Object.values(value)) stack.push(child);
  }
  return uses;
}

/** A RangeVar, in a list or in a field. */
export function isRelation(node: object): node is Node {
  return 'relname' in node && 'relpersistence' in node;
}

function relationName(relation: Node): ObjectName {
  // A temporary relation is made in the session's own schema, whatever the search path says.
  const schema = relation['schemaname'] ?? (relation['relpersistence'] === 't' ? 'pg_temp' : undefined);
  return { ...(schema !== undefined && { schema: String(schema) }), name: String(relation['relname'] ?? '') };
}

/** The last two of a list of String nodes; a database's name before them is left out. */
export function objectName(names: unknown): ObjectName {
  const [name = '', schema] = stringsOf(names).toReversed();
  return { ...(schema !== undefined && { schema }), name };
}

export function stringsOf(list: unknown): string[] {
  const items = ((list as Node | undefined)?.['List'] as Node | undefined)?.['items'] ?? list;
  return Array.isArray(items) ? items.flatMap((item: Node) => (item['String'] === undefined ? [] : [String((item['String'] as Node)['sval'] ?? '')])) : [];
}
