/** What a statement leads to in the database: each relation is followed to all that reading or writing it reaches. */
import { rowEvents, type Catalog, type CatalogRelation, type QualifiedName } from './catalog.ts';
import { functionKind, locks, runsText } from './functions.ts';
import type { StatementKind } from './kind.ts';
import { displayName } from './names.ts';
import type { Change, ChangeAction, ObjectName, RelationUse, RowLock } from './outline.ts';
import { rowsOf } from './row-limits.ts';
import type { SessionNames } from './session-names.ts';

type Meaning = { readonly relations: readonly CatalogRelation[]; readonly isKnown: boolean };

const roleCatalogs = new Set(['pg_authid', 'pg_auth_members', 'pg_db_role_setting', 'pg_roles', 'pg_shadow', 'pg_user']);

/** They hold values out of the rows of any table. */
const statistics = new Set(['pg_statistic', 'pg_statistic_ext_data', 'pg_stats', 'pg_stats_ext', 'pg_stats_ext_exprs']);

export class Effects {
  readonly reads = new Set<string>();
  readonly writes = new Set<string>();
  readonly functions = new Set<string>();
  readonly kinds = new Set<StatementKind>();
  runsCode = false;
  changesRole = false;
  /** It may change more rows than can be counted. */
  isUnproven = false;
  readonly #names: SessionNames;
  readonly #seen = new Set<string>();

  constructor(names: SessionNames) {
    this.#names = names;
  }

  runUnknown(): void {
    this.kinds.add('unknown');
    this.runsUnproven();
  }

  runsUnproven(): void {
    this.runsCode = true;
    this.isUnproven = true;
  }

  nameFunction({ schema, name }: ObjectName): void {
    this.functions.add(displayName(schema, name));
  }

  nameBuiltin(name: string): void {
    this.functions.add(name);
  }

  /** A function of users, or of an extension, that runs without standing in the text or stands there by its name. */
  run(name: QualifiedName): void {
    const kind = functionKind(name.name);
    if (kind !== undefined) this.kinds.add(kind);
    if (name.schema !== 'pg_catalog') {
      this.nameFunction(name);
      const overloads = this.#names.catalog?.functionsNamed(name.name).filter(({ schema }) => schema === name.schema) ?? [];
      if (overloads.length === 0 || overloads.some(({ isTrusted }) => isTrusted !== true)) this.runsUnproven();
      return;
    }
    this.nameBuiltin(name.name);
    // Locks and sequences are no rows; other effects cannot be counted.
    if (runsText(name.name)) this.runsUnproven();
    else if (kind !== undefined && !locks(name.name) && name.name !== 'nextval') this.isUnproven = true;
  }

  read(use: RelationUse): void {
    const { relations, isKnown } = this.#lookUp(use);
    if (!isKnown) {
      this.#nameUnknown(use, this.reads);
      this.isUnproven = true;
    }
    for (const relation of relations) this.#follow(relation, use.isOnly === true);
  }

  /** Answers the most rows that the change itself can meet; what it cannot prove makes the whole unproven. */
  change(change: Change, parameterTypes: readonly number[] = []): number {
    if (change.name === '*') return this.#changeSchema(change);
    const isUncounted = change.rows !== undefined && 'most' in change.rows && !('join' in change.rows) && change.rows.most === 0;
    const { relations, isKnown } = this.#lookUp(change.isNew === true ? this.#placeNew(change) : change);
    if (!isKnown) {
      this.#nameUnknown(change.isNew === true ? this.#placeNew(change) : change, this.writes);
      if (!isUncounted || change.isNew === true) this.isUnproven = true;
    }
    if (roleCatalogs.has(change.name)) this.changesRole = true;
    for (const relation of relations) this.#write(relation, change.action, change);
    return isUncounted ? 0 : this.#count(change, relations, parameterTypes);
  }

  /** Answers the most rows that it can lock. */
  lock(lock: RowLock, parameterTypes: readonly number[] = []): number {
    const { relations, isKnown } = this.#lookUp(lock);
    if (!isKnown) this.isUnproven = true;
    return this.#count(lock, relations, parameterTypes);
  }

  #count(met: Pick<Change, 'rows' | 'isOnly'>, relations: readonly CatalogRelation[], parameterTypes: readonly number[]): number {
    const { catalog, path } = this.#names;
    let most = 0;
    for (const relation of relations) {
      const rows = rowsOf(met, relation, { catalog: catalog as Catalog, parameterTypes, path });
      if (rows === undefined) this.isUnproven = true;
      else most = Math.max(most, rows);
    }
    return most;
  }

  #changeSchema(change: Change): number {
    if (change.action === 'define') this.isUnproven = true;
    this.writes.add(displayName(change.schema, '').concat('*'));
    if (change.schema === undefined || change.isNew === true) return 0;
    for (const relation of this.#names.catalog?.data.relations ?? []) {
      if (relation.schema === change.schema) this.#write(relation, 'define', change);
    }
    return 0;
  }

  /** Every relation that the name may mean. What the session has in its temporary schema is not known apart from others' there. */
  #lookUp({ schema, name }: RelationUse): Meaning {
    const { catalog, path, isUncertain } = this.#names;
    if (catalog === undefined) return { relations: [], isKnown: false };
    const named = catalog.relationsNamed(name);
    const temporary = named.filter((relation) => relation.schema.startsWith('pg_temp'));
    if (schema !== undefined) {
      const relations = schema.startsWith('pg_temp') ? temporary : named.filter((relation) => relation.schema === schema);
      return { relations, isKnown: relations.length > 0 && isUncertain !== true };
    }
    if (path === undefined) return { relations: named, isKnown: named.length > 0 && isUncertain !== true };
    const order = path.includes('pg_catalog') ? path : ['pg_catalog', ...path];
    const first = order.find((one) => (one === 'pg_catalog' || catalog.hasSchema(one)) && named.some((relation) => relation.schema === one));
    const relations = [...temporary, ...named.filter((relation) => relation.schema === first)];
    return { relations, isKnown: first !== undefined && isUncertain !== true };
  }

  #nameUnknown({ schema, name, isNew }: RelationUse & { isNew?: true }, into: Set<string>): void {
    if (schema !== undefined) into.add(displayName(schema.startsWith('pg_temp') ? 'pg_temp' : schema, name));
    // With a catalog that does not have it, a qualified name alone would pass for a relation that was looked at.
    if (schema === undefined || (this.#names.catalog !== undefined && isNew !== true)) into.add(displayName(undefined, name));
  }

  /** A new relation goes into the first schema of the path that is there. */
  #placeNew(change: Change): Change {
    const { catalog, path } = this.#names;
    const schema = change.schema ?? path?.find((one) => catalog?.hasSchema(one) === true);
    return schema === undefined ? change : { ...change, schema };
  }

  /** Reading: views, policies, children, and the parents whose rows these are. */
  #follow(start: CatalogRelation, isOnly: boolean): void {
    const open: [CatalogRelation, boolean][] = [[start, isOnly]];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const [relation, only] = next;
      if (!this.#isFirst(`read${only} ${relation.id}`)) continue;
      this.reads.add(display(relation));
      if (relation.schema === 'pg_catalog' && statistics.has(relation.name)) this.reads.add('?.*');
      this.#nameParents(relation, this.reads);
      for (const run of relation.readFunctions ?? []) this.run(run);
      for (const used of this.#each(relation.uses)) open.push([used, false]);
      if (!only) for (const child of this.#names.catalog?.childrenOf(relation) ?? []) open.push([child, false]);
    }
  }

  /** Writing: also triggers, rules, foreign keys of others, and for views what is below them. */
  #write(start: CatalogRelation, action: ChangeAction, change: Change): void {
    type Step = { relation: CatalogRelation; action: ChangeAction; columns: readonly string[] | undefined; isOnly: boolean };
    const open: Step[] = [{ relation: start, action, columns: change.columns, isOnly: change.isOnly === true }];
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      const { relation, isOnly } = step;
      if (!this.#isFirst(`${step.action}${isOnly} ${step.columns?.join() ?? '*'} ${relation.id}`)) continue;
      this.writes.add(display(relation));
      this.#nameParents(relation, this.writes);
      const reached = step.action === 'define' ? this.#redefined(relation, change.isCascade === true) : this.#cascade(relation, step.action, step.columns, change.isCascade === true);
      for (const one of reached) open.push({ isOnly: false, columns: undefined, ...one });
      // INSERT goes down to partitions, but not to children of a plain table.
      if (isOnly || (step.action === 'insert' && relation.kind !== 'partitioned')) continue;
      for (const child of this.#names.catalog?.childrenOf(relation) ?? []) open.push({ ...step, relation: child });
    }
  }

  #redefined(relation: CatalogRelation, isCascade: boolean): { relation: CatalogRelation; action: ChangeAction }[] {
    const ofIndex = relation.kind === 'index' ? this.#each(relation.uses) : [];
    const dependents = isCascade ? (this.#names.catalog?.dependentsOf(relation) ?? []) : [];
    return [...ofIndex, ...dependents].map((one) => ({ relation: one, action: 'define' }));
  }

  #cascade(
    relation: CatalogRelation,
    action: Exclude<ChangeAction, 'define'>,
    columns: readonly string[] | undefined,
    isCascade: boolean,
  ): { relation: CatalogRelation; action: ChangeAction }[] {
    const reached: { relation: CatalogRelation; action: ChangeAction }[] = [];
    // A row that moves to another partition is deleted in one and inserted into the other.
    const bits = action === 'update' && ((relation.parents?.length ?? 0) > 0 || relation.kind === 'partitioned') ? 7 : rowEvents[action];
    for (const { events, runs } of relation.triggers ?? []) if ((events & bits) !== 0) this.run(runs);
    if (action === 'insert' || action === 'update') for (const run of relation.writeFunctions ?? []) this.run(run);
    if (((relation.ruleEvents ?? 0) & bits) !== 0) {
      this.isUnproven = true;
      for (const used of this.#each(relation.ruleUses)) {
        this.#follow(used, false);
        // A rule may do anything to what it names.
        for (const each of ['insert', 'update', 'delete'] as const) reached.push({ relation: used, action: each });
      }
    }
    if (relation.kind === 'view') {
      for (const run of relation.readFunctions ?? []) this.run(run);
      for (const used of this.#each(relation.uses)) {
        this.#follow(used, false);
        reached.push({ relation: used, action });
      }
    } else for (const used of this.#each(relation.uses)) this.#follow(used, false);
    for (const { from, columns: key, onDelete, onUpdate } of relation.references ?? []) {
      const touches = columns === undefined || key.some((column) => columns.includes(column));
      const does = action === 'truncate' ? (isCascade ? 'truncate' : 'none') : action === 'delete' ? onDelete : action === 'update' && touches ? onUpdate : 'none';
      const [referencing] = this.#each([from]);
      if (does === 'none' || referencing === undefined) continue;
      this.isUnproven = true;
      reached.push({ relation: referencing, action: does });
    }
    return reached;
  }

  #nameParents(relation: CatalogRelation, into: Set<string>): void {
    const open = [...this.#each(relation.parents)];
    const seen = new Set<number>();
    for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
      if (seen.has(parent.id)) continue;
      seen.add(parent.id);
      into.add(display(parent));
      open.push(...this.#each(parent.parents));
    }
  }

  #each(ids: readonly number[] | undefined): CatalogRelation[] {
    return (ids ?? []).flatMap((id) => this.#names.catalog?.relation(id) ?? []);
  }

  #isFirst(step: string): boolean {
    if (this.#seen.has(step)) return false;
    this.#seen.add(step);
    return true;
  }
}

function display(relation: CatalogRelation): string {
  return displayName(relation.schema.startsWith('pg_temp') ? 'pg_temp' : relation.schema, relation.name);
}
