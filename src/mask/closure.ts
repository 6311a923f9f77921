/** From the masks of a policy and a catalog to a plan: closed over children, views, generated columns, row security and code that writes run. */
import type { Catalog, CatalogRelation } from '../sql/catalog.ts';
import type { ColumnDetails, RelationDetails, TypeDetails } from '../sql/catalog-details.ts';
import { quoteName } from '../sql/names.ts';
import type { Syntax } from '../sql/parser.ts';
import { asDefinition, checkStored, type StoredCode } from './analyse.ts';
import { isMasked, isRaw, isSpliced, nameOf, type Draft } from './draft.ts';
import { maskExpression } from './expressions.ts';
import { rawColumnKey, type MaskPlan, type MaskRule, type MaskRules, type PlannedColumn, type PlannedRelation } from './plan.ts';
import { typeProblems } from './type-problems.ts';
import { writeProblem } from './write-problems.ts';

export type PlanInput = {
  readonly catalog: Catalog;
  readonly rules: MaskRules;
  /** Of a text that `storedTexts` has named. */
  readonly syntaxOf: (sql: string) => Syntax | undefined;
};

/** Views are followed through each other so often. */
const passesMax = 32;

/** Texts of the catalog that must be parsed before `buildPlan`. */
export function storedTexts(catalog: Catalog): readonly string[] {
  const { relations, types } = catalog.data.details ?? { relations: [], types: [] };
  const expressions = relations.flatMap((relation) => [
    ...relation.columns.flatMap(({ generated, default: own }) => [generated, own].filter((sql) => sql !== undefined)),
    ...[...(relation.checks ?? []), ...(relation.indexExpressions ?? []), ...(relation.policies ?? [])].map(({ sql }) => sql),
  ]);
  const checks = types.flatMap((type) => (type.checks ?? []).map(({ sql }) => sql));
  return [...new Set([...[...expressions, ...checks].map(asQuery), ...relations.flatMap(({ definition }) => (definition === undefined ? [] : [asDefinition(definition)]))])];
}

function asQuery(expression: string): string {
  return `SELECT ${expression}`;
}

/** `problems`: what an operator should know, a line each: masks that fit no type, rules that cover nothing, views that are refused. */
export function buildPlan(input: PlanInput): BuiltPlan {
  const turns = buildPlanInTurns(input);
  let step = turns.next();
  while (step.done !== true) step = turns.next();
  return step.value;
}

export type BuiltPlan = { readonly plan: MaskPlan; readonly problems: readonly string[] };

/** The same, letting go between two relations. */
export function buildPlanInTurns(input: PlanInput): Generator<undefined, BuiltPlan, undefined> {
  return new Closure(input).build();
}

const declare = 'Name its columns in a rule of masks (schema.view.*), as clear or with masks, or read its tables.';

class Closure {
  readonly #input: PlanInput;
  readonly #drafts = new Map<number, Draft>();
  readonly #checked = new Map<string, StoredCode>();
  readonly #problems: string[] = [];
  #types: ReadonlyMap<number, string | undefined> | undefined;
  #typesByName: ReadonlyMap<string, TypeDetails> | undefined;

  constructor(input: PlanInput) {
    this.#input = input;
    for (const details of input.catalog.data.details?.relations ?? []) {
      const relation = input.catalog.relation(details.id);
      if (relation !== undefined) this.#drafts.set(details.id, { relation, details, masks: new Map(), hidden: new Set(), recast: new Set() });
    }
  }

  *build(): Generator<undefined, BuiltPlan, undefined> {
    yield* this.#each((draft) => this.#applyRules(draft));
    yield* this.#closeFamilies();
    yield* this.#each((draft) => this.#hide(draft));
    const areProven = this.#areDomainsProven();
    yield* this.#each((draft) => this.#checkTypes(draft, areProven));
    yield* this.#each((draft) => this.#checkPolicies(draft));
    yield* this.#closeViews();
    return { plan: yield* this.#plan(), problems: this.#problems };
  }

  *#each(work: (draft: Draft) => void): Generator<undefined, void, undefined> {
    for (const draft of this.#drafts.values()) {
      work(draft);
      yield undefined;
    }
  }

  /** The first rule that covers a column; undefined for one that nobody has classified. */
  #ruleOf({ relation }: Draft, column: string, by: 'covers' | 'namesRelation' | 'namesColumn' = 'covers'): MaskRule | undefined {
    return this.#input.rules.rules.find((rule) => rule[by](relation.schema, relation.name, column));
  }

  #applyRules(draft: Draft): void {
    const isDerived = draft.relation.kind === 'view' || draft.relation.kind === 'materialized' || draft.relation.kind === 'foreign';
    for (const { name } of draft.details.columns) {
      const rule = this.#ruleOf(draft, name, isDerived ? 'namesRelation' : 'covers');
      if (rule !== undefined && rule.mask.kind !== 'clear') draft.masks.set(name, rule);
    }
  }

  /** Reading a parent reads its children, and a child is part of its parent: what is masked in one is in all. */
  *#closeFamilies(): Generator<undefined, void, undefined> {
    for (let isChanged = true; isChanged; ) {
      isChanged = false;
      for (const draft of this.#drafts.values()) {
        yield undefined;
        for (const id of draft.relation.parents ?? []) {
          const parent = this.#drafts.get(id);
          if (parent !== undefined) isChanged = spread(draft, parent) || spread(parent, draft) || isChanged;
        }
      }
    }
  }

  /** In a table with masks: what nobody has classified, and what is computed from what is masked. */
  #hide(draft: Draft): void {
    if (draft.masks.size === 0) return;
    for (const column of draft.details.columns) {
      if (draft.masks.has(column.name)) continue;
      if (!this.#isClassified(draft, column.name)) draft.hidden.add(column.name);
    }
    for (let isChanged = true; isChanged; ) {
      isChanged = false;
      for (const column of draft.details.columns) {
        if (column.generated === undefined || isRaw(draft, column.name)) continue;
        const code = this.#check(column.generated, 'expression', draft.details);
        const isTainted = !code.ok || code.isWholeRow || code.columns.some((name) => isRaw(draft, name));
        if (!isTainted || this.#ruleOf(draft, column.name, 'namesColumn') !== undefined) continue;
        draft.hidden.add(column.name);
        isChanged = true;
      }
    }
  }

  #ancestorsOf(draft: Draft, depth = 0): Draft[] {
    const parents = (draft.relation.parents ?? []).flatMap((id) => this.#drafts.get(id) ?? []);
    return depth < passesMax ? [...parents, ...parents.flatMap((parent) => this.#ancestorsOf(parent, depth + 1))] : parents;
  }

  /** By a rule of its own, or of a table that it is a part of. */
  #isClassified(draft: Draft, column: string): boolean {
    const has = ({ details }: Draft) => details.columns.some(({ name }) => name === column);
    return [draft, ...this.#ancestorsOf(draft).filter(has)].some((one) => this.#ruleOf(one, column) !== undefined);
  }

  /** No value of a type whose checks are not proven is shown as such: a literal could be made into one beside it. */
  #checkTypes(draft: Draft, areProven: boolean): void {
    if (draft.relation.kind === 'view' && !this.#isDeclared(draft)) return;
    for (const column of draft.details.columns) {
      if (isRaw(draft, column.name)) continue;
      if (this.#isOfDomains(column)) draft.hidden.add(column.name);
      else if (column.isDomain === true && !areProven) draft.recast.add(column.name);
    }
  }

  /** A composite or an array that holds domains which are not proven. */
  #isOfDomains({ baseType, typeKind }: ColumnDetails): boolean {
    if (!baseType.includes('.') || ['e', 'r', 'm'].includes(typeKind)) return false;
    const type = this.#typeNamed(baseType);
    // Rows of relations are not among the types.
    if (type === undefined) return true;
    return (type.kind === 'd' || type.kind === 'c') && this.#typeProblem(type.id) !== undefined;
  }

  /** Of an array, that of its elements. */
  #typeNamed(baseType: string): TypeDetails | undefined {
    this.#typesByName ??= new Map((this.#input.catalog.data.details?.types ?? []).map((type) => [`${type.schema}.${type.name}`, type]));
    return this.#typesByName.get(baseType) ?? this.#typesByName.get(baseType.replace('._', '.'));
  }

  #areDomainsProven(): boolean {
    return (this.#input.catalog.data.details?.types ?? []).every(({ kind, id }) => kind !== 'd' || this.#typeProblem(id) === undefined);
  }

  /** Which rows are there must not depend on what is masked. */
  #checkPolicies(draft: Draft): void {
    for (const policy of draft.details.policies ?? []) {
      if (!policy.reads || draft.refused !== undefined) continue;
      const code = this.#check(policy.sql, 'expression', draft.details);
      const reason = code.ok ? this.#usesMasked(draft, code) : code.reason;
      if (reason !== undefined) draft.refused = `its row security policy ${policy.name} is not proven: ${reason}`;
    }
    for (const parent of this.#ancestorsOf(draft)) {
      // Which rows stand in a part is told by the key.
      const key = parent.details.partitionKey?.find((name) => name === '*' || isRaw(parent, name));
      if (key === undefined || parent.masks.size === 0) continue;
      draft.refused ??= `its rows are those of ${nameOf(parent)} with certain values of a masked column`;
      draft.hint ??= `Read ${nameOf(parent)}.`;
    }
    if (draft.relation.kind === 'foreign' && !this.#isDeclared(draft)) {
      draft.refused ??= 'it is a table of another server';
      draft.hint = declare;
    }
  }

  #usesMasked(draft: Draft, code: Extract<StoredCode, { ok: true }>): string | undefined {
    if (draft.masks.size === 0) return undefined;
    if (code.isWholeRow) return 'it uses the whole row';
    const used = code.columns.find((name) => isRaw(draft, name));
    return used === undefined ? undefined : `it uses the column ${used}, which has a mask`;
  }

  #isDeclared(draft: Draft): boolean {
    return draft.details.columns.some(({ name }) => this.#ruleOf(draft, name, 'namesRelation') !== undefined);
  }

  *#closeViews(): Generator<undefined, void, undefined> {
    const views = [...this.#drafts.values()].filter(({ relation }) => relation.kind === 'view' || relation.kind === 'materialized');
    for (const view of views.filter((one) => this.#isDeclared(one))) {
      for (const { name } of view.details.columns) if (!view.masks.has(name) && this.#ruleOf(view, name, 'namesRelation') === undefined) view.hidden.add(name);
    }
    const open = views.filter((one) => !this.#isDeclared(one));
    for (const view of open) {
      this.#checkView(view);
      yield undefined;
    }
    for (let pass = 0; pass < passesMax; pass++) {
      let isChanged = false;
      for (const view of open) {
        isChanged = this.#taint(view) || isChanged;
        yield undefined;
      }
      if (!isChanged) return;
    }
    for (const view of open) view.refused ??= 'views are nested too deeply';
  }

  #checkView(view: Draft): void {
    const code = this.#check(view.details.definition ?? '', 'query', undefined);
    if (code.ok) return;
    view.refused = `its definition is not proven: ${code.reason}`;
    view.hint = declare;
  }

  /** Whether anything has changed. */
  #taint(view: Draft): boolean {
    if (view.refused !== undefined || view.isExpanded === true) return false;
    const code = this.#check(view.details.definition ?? '', 'query', undefined);
    const read = code.ok ? code.relations.map((id) => this.#drafts.get(id)) : [];
    const refused = read.find((one) => one?.refused !== undefined);
    if (refused !== undefined) {
      view.refused = `it reads ${nameOf(refused)}, which cannot be read: ${refused.refused}`;
      view.hint = refused.hint ?? declare;
      return true;
    }
    if (!read.some((one) => one !== undefined && (isSpliced(one) || one.isExpanded === true))) return false;
    if (view.relation.kind === 'view') view.isExpanded = true;
    else if (!read.some((one) => one !== undefined && (isMasked(one) || one.isExpanded === true))) return false;
    else {
      view.refused = 'it holds copies of columns with masks';
      view.hint = declare;
    }
    return true;
  }

  /** Each text once. */
  #check(sql: string, kind: 'expression' | 'query', relation: RelationDetails | undefined): StoredCode {
    const key = `${kind} ${relation?.id ?? ''} ${sql}`;
    let code = this.#checked.get(key);
    if (code === undefined) {
      const text = kind === 'query' ? asDefinition(sql) : asQuery(sql);
      const { catalog, rules, syntaxOf } = this.#input;
      code = checkStored({ sql: text, kind, syntax: syntaxOf(text), catalog, trusts: rules.trusts, typeProblem: (id) => this.#typeProblem(id), ...(relation && { relation }) });
      this.#checked.set(key, code);
    }
    return code;
  }

  /** Of all types, judged when the first is asked for. */
  #typeProblem(id: number): string | undefined {
    const types = this.#input.catalog.data.details?.types ?? [];
    if (this.#types === undefined) {
      // Checks of domains may name types as well.
      this.#types = new Map(types.flatMap((type) => [type.id, type.arrayId].map((one) => [one, type.kind === 'e' || type.isTrusted === true ? undefined : 'the check of a domain uses it'] as const)));
      this.#types = typeProblems(types, (sql) => this.#check(sql, 'expression', undefined));
    }
    return this.#types.get(id) ?? (this.#types.has(id) ? undefined : 'it is not known');
  }

  #refersTo(): ReadonlyMap<number, Draft> {
    const found = new Map<number, Draft>();
    for (const draft of this.#drafts.values()) {
      for (const { from, columns } of draft.relation.references ?? []) if (columns.some((name) => isRaw(draft, name))) found.set(from, draft);
    }
    return found;
  }

  *#plan(): Generator<undefined, MaskPlan, undefined> {
    const { catalog, rules } = this.#input;
    const details = catalog.data.details;
    const planned = new Map<number, PlannedRelation>();
    yield* this.#each((draft) => planned.set(draft.relation.id, this.#planned(draft)));
    const rawColumns = new Set<string>();
    yield* this.#each((draft) => rawNumbers(draft).forEach((number) => rawColumns.add(rawColumnKey(draft.relation.id, number))));
    const images = [...planned.values()].flatMap((one) => (one.access === 'masked' ? one.columns.flatMap(({ image }) => image ?? []) : []));
    const unnamed = details?.unnamedCode ?? [];
    const known = {
      catalog,
      drafts: this.#drafts,
      check: (sql: string, relation: RelationDetails | undefined) => this.#check(sql, 'expression', relation),
      trusts: rules.trusts,
      refersTo: this.#refersTo(),
      typeProblem: (id: number) => this.#typeProblem(id),
      typeNamed: (name: string) => this.#typeNamed(name),
    };
    yield* this.#noteProblems(planned);
    return {
      digest: rules.digest,
      level: rules.level === 'display' ? 'display' : this.#isAirtight(planned) ? 'airtight' : 'proven',
      serverMajor: details?.serverMajor ?? 0,
      trusts: rules.trusts,
      images: [...new Map(images.map((image) => [image.source, image])).values()],
      rawColumns,
      relation: (id) => planned.get(id) ?? plainRefusal(catalog.relation(id)),
      typeProblem: (id) => this.#typeProblem(id),
      writeProblem: (write) => writeProblem(known, write),
      ...(unnamed.length > 0 && {
        problem: { reason: `${unnamed[0]} runs code of the database's own, which any expression may call`, hint: 'Whoever keeps the database can drop it, or give a role without masks.' },
      }),
    };
  }

  #planned(draft: Draft): PlannedRelation {
    const { relation, details, hidden, masks } = draft;
    const base = { id: relation.id, schema: relation.schema, name: relation.name };
    if (draft.refused !== undefined) return { ...base, access: 'refused', reason: draft.refused, ...(draft.hint !== undefined && { hint: draft.hint }) };
    if (draft.isExpanded === true) return { ...base, access: 'view', definition: details.definition ?? '', isBarrier: details.isBarrier === true };
    if (!isSpliced(draft)) return { ...base, access: 'clean' };
    const columns = details.columns.filter(({ name }) => !hidden.has(name)).map((column) => this.#plannedColumn(draft, column, masks.get(column.name)));
    return { ...base, access: 'masked', columns, hidden: [...hidden] };
  }

  #plannedColumn(draft: Draft, column: ColumnDetails, rule: MaskRule | undefined): PlannedColumn {
    const { name, number } = column;
    if (rule === undefined) return draft.recast.has(name) ? { name, number, sql: `${quoteName(name)}::${column.type}` } : { name, number };
    const { sql, image, problem } = maskExpression(column, rule.mask);
    if (problem !== undefined) this.#problems.push(`${nameOf(draft)}: ${problem} (rule ${rule.path})`);
    return { name, number, sql, mask: { rule: rule.path, kind: rule.mask.kind }, shownBy: rule.mask, ...(image && { image }) };
  }

  #isAirtight(planned: ReadonlyMap<number, PlannedRelation>): boolean {
    const role = this.#input.catalog.data.details?.role;
    if (role === undefined || role.isSuperuser || role.readsAllData) return false;
    return [...planned].every(([id, one]) => {
      const draft = this.#drafts.get(id);
      if (draft === undefined || (one.access !== 'masked' && one.access !== 'view')) return true;
      if (draft.details.isOwned === true) return false;
      const raw = one.access === 'view' ? draft.details.columns : draft.details.columns.filter(({ name }) => isRaw(draft, name));
      return raw.every(({ isUnreadable }) => isUnreadable === true);
    });
  }

  *#noteProblems(planned: ReadonlyMap<number, PlannedRelation>): Generator<undefined, void, undefined> {
    for (const rule of this.#input.rules.rules) {
      let isUsed = false;
      for (const { relation, details } of this.#drafts.values()) {
        isUsed = details.columns.some(({ name }) => rule.covers(relation.schema, relation.name, name));
        if (isUsed) break;
        yield undefined;
      }
      if (!isUsed) this.#problems.push(`the rule ${rule.path} names no column that is there`);
    }
    for (const one of planned.values()) {
      if (one.access === 'refused') this.#problems.push(`${one.schema}.${one.name} cannot be read with masks: ${one.reason}`);
    }
  }
}

/** Whether the other table has got a mask that it had not. */
function spread(from: Draft, to: Draft): boolean {
  let isChanged = false;
  for (const [column, rule] of from.masks) {
    if (to.masks.has(column) || !to.details.columns.some(({ name }) => name === column)) continue;
    to.masks.set(column, rule);
    isChanged = true;
  }
  return isChanged;
}

function rawNumbers(draft: Draft): number[] {
  return draft.details.columns.filter(({ name }) => isRaw(draft, name)).map(({ number }) => number);
}

function plainRefusal(relation: CatalogRelation | undefined): PlannedRelation | undefined {
  if (relation === undefined || relation.schema === 'pg_catalog' || relation.schema === 'information_schema') return undefined;
  const reason = relation.kind === 'sequence' ? 'it is a sequence, which tells what others have done' : 'it has no rows to read';
  return { id: relation.id, schema: relation.schema, name: relation.name, access: 'refused', reason };
}
