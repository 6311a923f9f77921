/** The walk over queries and expressions: every node is known, every name is looked up, and relations with masks are spliced. */
import { quoteName } from '../sql/names.ts';
import type { SessionNames } from '../sql/session-names.ts';
import { Tokens, type Change } from './edits.ts';
import { checkColumns, isSplicedWithSchema, Sources } from './columns.ts';
import { checkFunction } from './functions.ts';
import { groupByKeys } from './group-by.ts';
import type { MaskedColumn } from './masked.ts';
import { nodeFields, nodesSince } from './nodes.ts';
import { checkOperator, checkType, operatorsOf } from './operators.ts';
import type { MaskPlan } from './plan.ts';
import { andTerms, fixedColumn } from './bounded.ts';
import { askForRole, Refusal } from './refusal.ts';
import { findRelation, type Found } from './relations.ts';
import { settingsInstead, spliceRelation } from './splice.ts';
import { kindOf, listOf, locationOf, nodeOf, stringOf, type Node } from './tree.ts';

/** Names of WITH queries, innermost first. */
export type Scope = { readonly name: string; readonly outer: Scope | undefined };

/** A view's definition with masks inside, and what was masked in it. */
export type ExpandedView = { readonly sql: string; readonly columns: readonly MaskedColumn[] };

export type WalkOptions = {
  readonly bytes: Buffer;
  readonly tokens: Tokens;
  readonly names: SessionNames;
  readonly plan: MaskPlan;
  /** Masked text of a view's definition; fails as the walk does. */
  readonly expandView: (definition: string) => ExpandedView;
  /** Stored code may ask for any setting by its name. */
  readonly isStored: boolean;
  /** People approve the statement. */
  readonly isHeld: boolean;
};

/** One statement's walk. What it finds is added to `edits` and `masked`. */
export class Walk {
  readonly options: WalkOptions;
  readonly edits: Change[] = [];
  readonly masked = new Map<string, MaskedColumn>();
  readonly sources = new Sources();
  /** OIDs of relations outside the catalog's own schemas that it reads. */
  readonly reads = new Set<number>();

  constructor(options: WalkOptions) {
    this.options = options;
  }

  /** What can be judged only when all sources are known. */
  finish(): void {
    checkColumns(this.sources, this.options);
    const { tokens } = this.options;
    for (const reference of this.sources.references) {
      if (reference.at === undefined || !isSplicedWithSchema(this.sources, reference)) continue;
      // The sub-select has the name of the relation, but no schema.
      const first = tokens.indexAt(reference.at);
      this.edits.push({ start: tokens.start(first), end: tokens.start(first + 2), text: '' });
    }
  }

  /** A node that names its kind, or a list of such. */
  any(value: unknown, scope: Scope | undefined): void {
    if (Array.isArray(value)) {
      for (const item of value as unknown[]) this.any(item, scope);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    const found = kindOf(value);
    // DISTINCT without ON is a list of one empty node.
    if (found === undefined) return;
    if (Object.keys(value).length !== 1) throw unknownNode(Object.keys(value).join('/'), undefined);
    this.visit(found[0], found[1], scope);
  }

  visit(kind: string, node: Node, scope: Scope | undefined): void {
    const fields = nodeFields.get(kind);
    const at = locationOf(node);
    if (fields === undefined) throw unknownNode(kind, at);
    if ((nodesSince.get(kind) ?? 0) > this.options.plan.serverMajor) throw unknownNode(kind, at);
    for (const field of Object.keys(node)) if (!fields.has(field)) throw unknownNode(`${kind}.${field}`, at);
    switch (kind) {
      case 'SelectStmt':
        return this.#select(node, scope);
      case 'RangeVar':
        return this.#relation(node, scope, undefined);
      case 'RangeTableSample':
        return this.#sample(node, scope);
      case 'LockingClause':
        // Its relations are names of this FROM, which stand there under the same names.
        return;
      case 'TypeName':
        checkType(node, this.options);
        break;
      case 'FuncCall':
        this.edits.push(...checkFunction(node, this.options));
        break;
      case 'ColumnRef':
        this.sources.noteColumn(node);
        break;
      case 'A_Indirection':
        this.sources.noteFields(node);
        break;
      case 'RangeFunction': {
        const edit = settingsInstead(node, this.options.tokens);
        if (edit !== undefined) return void this.edits.push(edit);
        this.sources.addOther(node['alias'] as Node | undefined);
        break;
      }
      case 'RangeSubselect':
      case 'RangeTableFunc':
      case 'JsonTable':
        this.sources.addOther(node['alias'] as Node | undefined);
        break;
      case 'JoinExpr':
        this.sources.addOther(node['alias'] as Node | undefined);
        this.sources.addOther(node['join_using_alias'] as Node | undefined);
        break;
      default:
    }
    for (const operator of operatorsOf(kind, node)) checkOperator(operator, this.options, at);
    this.#below(fields, node, scope);
  }

  /** Clauses of a write, whose own field names are known. */
  write(clauses: Node): void {
    const scope = this.#openScope(clauses['withClause'] as Node | undefined, undefined);
    for (const [field, value] of Object.entries(clauses)) {
      if (typeof value !== 'object' || value === null || field === 'withClause') continue;
      if (field === 'onConflictClause') this.#conflict(value as Node, scope);
      else if (field === 'returningClause') {
        if (listOf((value as Node)['options']).length > 0) throw unknownNode('RETURNING WITH', undefined);
        this.any((value as Node)['exprs'], scope);
      } else this.any(value, scope);
    }
  }

  #conflict(node: Node, scope: Scope | undefined): void {
    const infer = node['infer'] as Node | undefined;
    for (const item of listOf(infer?.['indexElems'])) {
      const element = nodeOf(item, 'IndexElem') ?? {};
      if (listOf(element['opclass']).length > 0 || listOf(element['collation']).length > 0) throw unknownNode('ON CONFLICT with an operator class', undefined);
      this.any(element['expr'], scope);
    }
    this.sources.addOther({ aliasname: 'excluded' });
    this.any(infer?.['whereClause'], scope);
    this.any(node['targetList'], scope);
    this.any(node['whereClause'], scope);
  }

  #below(fields: ReadonlyMap<string, string | undefined>, node: Node, scope: Scope | undefined, except: readonly string[] = []): void {
    for (const [field, child] of Object.entries(node)) {
      if (typeof child !== 'object' || child === null || except.includes(field)) continue;
      const kind = fields.get(field);
      if (kind !== undefined) this.visit(kind, child as Node, scope);
      else if (!isValue(field)) this.any(child, scope);
    }
  }

  #select(node: Node, scope: Scope | undefined): void {
    if (node['intoClause'] !== undefined) throw new Refusal('statement', 'SELECT INTO makes a table, which a principal with masks may not', askForRole);
    if (listOf(node['lockingClause']).length > 0 && !this.options.isHeld && !locksFewRows(node)) {
      throw new Refusal('write', 'it may lock every row of its tables', 'Compare a column with constants in the WHERE, or write a LIMIT.');
    }
    const inner = this.#openScope(node['withClause'] as Node | undefined, scope);
    const from = this.sources.beginSelect();
    this.#below(nodeFields.get('SelectStmt') as ReadonlyMap<string, string | undefined>, node, inner, ['withClause']);
    this.edits.push(...groupByKeys(node, from(), this.options));
  }

  /** WITH: its queries see those before them, or all of them when it is RECURSIVE; the rest of the statement sees all. */
  #openScope(clause: Node | undefined, scope: Scope | undefined): Scope | undefined {
    if (clause === undefined) return scope;
    let inner = scope;
    const queries: { readonly node: Node; readonly scope: Scope | undefined }[] = [];
    for (const item of listOf(clause['ctes'])) {
      const node = nodeOf(item, 'CommonTableExpr') ?? {};
      queries.push({ node, scope: inner });
      inner = { name: String(node['ctename']), outer: inner };
    }
    for (const query of queries) {
      const { ctequery, ctename } = query.node;
      if (nodeOf(ctequery, 'SelectStmt') === undefined) {
        throw new Refusal('write', `WITH ${String(ctename)} changes rows inside a query, which a principal with masks may not`, 'Send the change as a statement of its own.', locationOf(query.node));
      }
      this.visit('CommonTableExpr', query.node, clause['recursive'] === true ? inner : query.scope);
    }
    return inner;
  }

  /** `sample`: the TABLESAMPLE behind it. */
  #relation(node: Node, scope: Scope | undefined, sample: Node | undefined): void {
    const name = String(node['relname']);
    const alias = node['alias'] as Node | undefined;
    if (node['schemaname'] === undefined && node['catalogname'] === undefined && isInSight(name, scope)) {
      this.sources.addOther(alias ?? { aliasname: name });
      return;
    }
    const found = findRelation(node, this.options);
    if (found.id !== undefined) this.reads.add(found.id);
    this.sources.addRelation(found, node);
    const view = found.planned?.access === 'view' ? this.options.expandView(found.planned.definition) : undefined;
    const edit = spliceRelation(found, node, { sample, view: view?.sql }, this.options) ?? this.#qualification(found, node);
    if (edit === undefined) return;
    this.edits.push(edit);
    for (const one of view?.columns ?? found.masked ?? []) this.masked.set(one.column, one);
  }

  /** A view's relations are its own, whatever WITH query of the client has the name of one. */
  #qualification({ schema }: Found, node: Node): Change | undefined {
    if (!this.options.isStored || node['schemaname'] !== undefined) return undefined;
    const { tokens } = this.options;
    const start = tokens.start(tokens.indexAt(locationOf(node) ?? -1));
    return { start, end: start, text: `${quoteName(schema)}.` };
  }

  #sample(node: Node, scope: Scope | undefined): void {
    const relation = nodeOf(node['relation'], 'RangeVar');
    const constants = [...listOf(node['args']), node['repeatable']].filter((one) => one !== undefined);
    if (relation === undefined || constants.some((one) => nodeOf(one, 'A_Const') === undefined && nodeOf(one, 'ParamRef') === undefined)) {
      throw new Refusal('syntax', 'the arguments of TABLESAMPLE must be constants', 'Write the numbers themselves.', locationOf(node));
    }
    const method = listOf(node['method']).map(stringOf);
    const isBuiltIn = ['bernoulli', 'system'].includes(method.at(-1) ?? '') && (method.length === 1 || method[0] === 'pg_catalog');
    if (!isBuiltIn) throw new Refusal('function', `the sampling method ${method.join('.')} is not known`, 'Use BERNOULLI or SYSTEM.', locationOf(node));
    this.#relation(relation, scope, node);
  }
}

function isInSight(name: string, scope: Scope | undefined): boolean {
  for (let at = scope; at !== undefined; at = at.outer) if (at.name === name) return true;
  return false;
}

/** A LIMIT, or a term of the WHERE that compares a column with a constant. */
function locksFewRows(select: Node): boolean {
  return select['limitCount'] !== undefined || andTerms(select['whereClause']).some((term) => fixedColumn(term) !== undefined);
}

/** Fields that hold a constant in the form of a node. */
function isValue(field: string): boolean {
  return ['ival', 'fval', 'boolval', 'sval', 'bsval'].includes(field);
}

function unknownNode(what: string, at: number | undefined): Refusal {
  return new Refusal('syntax', `${what} is not something that is known to be safe with masks`, 'Write the statement without it.', at);
}
