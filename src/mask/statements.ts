/** Kinds of statements that a principal with masks may send, and what of each is looked at. */
import { commandTag } from '../sql/command-tag.ts';
import { quoteName, truncateName } from '../sql/names.ts';
import type { Change } from './edits.ts';
import { Sources } from './columns.ts';
import { checkSet, hiddenSetting, isShown } from './functions.ts';
import type { MaskedColumn, StoredValue } from './masked.ts';
import { askForRole, Refusal } from './refusal.ts';
import { findRelation, type Found } from './relations.ts';
import { isReplaced, leafOf } from './splice.ts';
import { storedValue } from './stored-value.ts';
import { constantOf, kindOf, listOf, locationOf, nodeOf, stringOf, type Node } from './tree.ts';
import { Walk, type WalkOptions } from './walk.ts';
import { walkWrite } from './writes.ts';

const copyOptions = new Set(['format', 'delimiter', 'null', 'header', 'quote', 'escape', 'force_quote', 'force_not_null', 'force_null', 'encoding', 'default', 'freeze', 'on_error', 'log_verbosity']);
const explainOptions = new Set(['costs', 'verbose', 'format', 'settings', 'summary', 'timing', 'analyze', 'generic_plan']);
const harmless = new Set(['FetchStmt', 'ClosePortalStmt', 'DeallocateStmt', 'DiscardStmt', 'UnlistenStmt', 'ConstraintsSetStmt']);
const writes = new Set(['InsertStmt', 'UpdateStmt', 'DeleteStmt']);

/** All statements of one text. */
export class StatementWalk {
  readonly #options: WalkOptions;
  readonly edits: Change[] = [];
  readonly masked = new Map<string, MaskedColumn>();
  readonly stored: StoredValue[] = [];
  readonly reads = new Set<number>();
  /** Of the last statement. */
  sources = new Sources();
  isWrite = false;
  /** Prepared earlier in this text. */
  readonly #prepared = new Set<string>();

  constructor(options: WalkOptions) {
    this.#options = options;
  }

  /** `raw`: the RawStmt around it, which says where it begins. */
  run(kind: string, node: Node, raw: Node): void {
    if (kind === 'SelectStmt') return this.#query(node);
    if (writes.has(kind)) return this.#write(kind, node);
    if (harmless.has(kind)) return;
    switch (kind) {
      case 'ExplainStmt':
        return this.#explain(node, raw);
      case 'DeclareCursorStmt':
        return this.#query(nodeOf(node['query'], 'SelectStmt') ?? notAllowed('DECLARE CURSOR of another statement than SELECT'));
      case 'PrepareStmt': {
        const walk = this.#begin();
        for (const type of listOf(node['argtypes'])) walk.any(type, undefined);
        this.#end(walk);
        this.#prepared.add(truncateName(String(node['name'])));
        return this.#nested(node['query'], raw);
      }
      case 'ExecuteStmt':
        return this.#execute(node);
      case 'CopyStmt':
        return this.#copy(node);
      case 'TransactionStmt':
        if (/PREPARE/.test(String(node['kind']))) notAllowed('two-phase commit');
        return;
      case 'VariableSetStmt':
        return this.#set(node);
      case 'VariableShowStmt':
        if (!isShown(String(node['name']))) throw hiddenSetting(String(node['name']), undefined);
        return;
      default:
        notAllowed(commandTag(kind, node));
    }
  }

  #nested(wrapped: unknown, raw: Node): void {
    const [kind, node] = kindOf(wrapped) ?? ['', {}];
    if (kind !== 'SelectStmt' && !writes.has(kind) && kind !== 'ExecuteStmt') notAllowed(kind === '' ? 'this statement' : commandTag(kind, node));
    this.run(kind, node, raw);
  }

  #begin(): Walk {
    return new Walk(this.#options);
  }

  #end(walk: Walk): void {
    walk.finish();
    this.edits.push(...walk.edits);
    for (const [key, one] of walk.masked) this.masked.set(key, one);
    for (const id of walk.reads) this.reads.add(id);
    this.sources = walk.sources;
  }

  #query(select: Node): void {
    const walk = this.#begin();
    walk.visit('SelectStmt', select, undefined);
    this.#end(walk);
  }

  #write(kind: string, node: Node): void {
    const walk = this.#begin();
    this.stored.push(...walkWrite(kind, node, walk));
    this.isWrite = true;
    this.#end(walk);
  }

  #execute(node: Node): void {
    const name = truncateName(String(node['name']));
    if (!this.#prepared.has(name) && this.#options.names.prepared?.has(name) !== true) {
      throw new Refusal('statement', `the prepared statement ${name} is not known`, 'Prepare it in this session first.');
    }
    const walk = this.#begin();
    for (const value of listOf(node['params'])) {
      walk.any(value, undefined);
      const stored = storedValue(value);
      if (stored !== undefined) this.stored.push(stored);
    }
    this.#end(walk);
  }

  /** Costs and row counts come from statistics of raw values. */
  #explain(node: Node, raw: Node): void {
    const { tokens } = this.#options;
    const options = listOf(node['options']).map((item) => nodeOf(item, 'DefElem') ?? {});
    for (const option of options) {
      const name = String(option['defname']);
      const isOff = ['false', 'off', '0'].includes((constantOf(option['arg']) ?? stringOf(option['arg']) ?? 'true').toLowerCase());
      if (!explainOptions.has(name) || (['analyze', 'timing'].includes(name) && !isOff)) {
        throw new Refusal('statement', `EXPLAIN (${name.toUpperCase()}) measures how raw values are stored and found`, 'Use EXPLAIN without it.', locationOf(option));
      }
    }
    const start = Number(raw['stmt_location'] ?? 0);
    const index = tokens.list.findIndex((token) => token.start >= start);
    const isListed = options.length > 0 && tokens.word(index + 1) === '(';
    if (isListed) {
      const close = tokens.start(tokens.closing(index + 1));
      this.edits.push({ start: close, end: close, text: ', COSTS OFF' });
    } else {
      const isVerbose = tokens.word(index + 1) === 'verbose';
      this.edits.push({ start: tokens.start(index), end: tokens.end(isVerbose ? index + 1 : index), text: `EXPLAIN (${isVerbose ? 'VERBOSE, ' : ''}COSTS OFF)` });
    }
    this.#nested(node['query'], raw);
  }

  #copy(node: Node): void {
    if (node['filename'] !== undefined || node['is_program'] === true) notAllowed("COPY with the server's files and programs");
    for (const item of listOf(node['options'])) {
      const name = String(nodeOf(item, 'DefElem')?.['defname']);
      if (!copyOptions.has(name)) throw new Refusal('statement', `the option ${name} of COPY is not known`, 'Leave it out.');
    }
    if (node['query'] !== undefined) return this.#query(nodeOf(node['query'], 'SelectStmt') ?? notAllowed('COPY of a statement that changes rows'));
    const relation = node['relation'] as Node;
    const found = findRelation(relation, this.#options);
    const columns = listOf(node['attlist']).map((item) => stringOf(item) ?? '');
    if (node['is_from'] === true) return this.#copyIn(node, found, columns);
    if (found.id !== undefined) this.reads.add(found.id);
    if (found.planned?.access === 'view') notAllowed('COPY of a view');
    if (found.planned === undefined && isReplaced(found)) notAllowed(`COPY of ${found.name}`);
    if (found.planned?.access === 'masked') this.#copyOut(relation, found, columns);
  }

  #copyIn(node: Node, found: Found, columns: readonly string[]): void {
    if (node['whereClause'] !== undefined) notAllowed('COPY … FROM … WHERE');
    if (found.planned?.access !== 'clean' || found.id === undefined) {
      throw new Refusal('write', `rows cannot be copied into ${found.schema}.${found.name}, which has masks`, 'Use INSERT for the columns without masks.', locationOf(node['relation'] as Node));
    }
    // With DEFAULT '…' a row of the data can ask for any default.
    const takesDefaults = listOf(node['options']).some((item) => nodeOf(item, 'DefElem')?.['defname'] === 'default');
    const problem = this.#options.plan.writeProblem({ id: found.id, event: 'insert', columns: takesDefaults ? [] : columns });
    if (problem !== undefined) throw new Refusal('write', `${found.schema}.${found.name} cannot be written with masks: ${problem}`, askForRole);
    this.isWrite = true;
  }

  /** COPY of a table becomes COPY of a query over what may be seen of it: of this very table, as COPY means it. */
  #copyOut(relation: Node, found: Found, columns: readonly string[]): void {
    const { tokens, names } = this.#options;
    for (const column of columns) {
      if (found.columns?.includes(column) !== true) throw new Refusal('column', `the column ${found.schema}.${found.name}.${column} is hidden`, 'Leave it out.');
    }
    const isPartitioned = names.catalog?.relation(found.id ?? 0)?.kind === 'partitioned';
    const first = tokens.indexAt(locationOf(relation) ?? -1);
    let last = tokens.endOfName(first, 1 + Number(relation['schemaname'] !== undefined) + Number(relation['catalogname'] !== undefined));
    if (tokens.word(last + 1) === '(' && columns.length > 0) last = tokens.closing(last + 1);
    const list = columns.length === 0 ? '*' : columns.map(quoteName).join(', ');
    const leaf = leafOf(found, !isPartitioned, '', undefined) ?? '';
    this.edits.push({ start: tokens.start(first), end: tokens.end(last), text: `(SELECT ${list} FROM (${leaf}) AS ${quoteName(found.name)})` });
    for (const one of found.masked ?? []) this.masked.set(one.column, one);
  }

  #set(node: Node): void {
    const name = String(node['name'] ?? '');
    switch (node['kind']) {
      case 'VAR_RESET_ALL':
        return;
      case 'VAR_RESET':
      case 'VAR_SET_DEFAULT':
        return checkSet(name, undefined, this.#options.names, undefined, true);
      case 'VAR_SET_VALUE': {
        const values = listOf(node['args']).map(constantOf);
        const value = values.some((one) => one === undefined) ? undefined : values.join(', ');
        return checkSet(name, value, this.#options.names, undefined);
      }
      case 'VAR_SET_MULTI':
        if (name === 'TRANSACTION SNAPSHOT') notAllowed('SET TRANSACTION SNAPSHOT');
        return;
      default:
        throw new Refusal('setting', `${name} cannot be set like that with masks`, 'Leave it as it is.');
    }
  }
}

function notAllowed(what: string): never {
  throw new Refusal('statement', `${what} is not for principals with masks: it could show or store raw values`, askForRole);
}

