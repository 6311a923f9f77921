/** From PostgreSQL's own parse tree to the facts that policy decides on: kinds, prepared names, settings. Pure. */
import { constantText } from './constant.ts';
import { functionKind, takesSecret } from './functions.ts';
import type { StatementKind } from './kind.ts';
import { truncateName } from './names.ts';
import { kindOfNode } from './node-kinds.ts';
import type { SettingChange, StatementOutline } from './outline.ts';
import { outlineStatement } from './outline-walk.ts';
import { readsConnections, secretRelations, subscriptions } from './secret-catalogs.ts';
import { holdsSecret, isSecretName } from './secrets.ts';
import { nameSetting } from './setting-by-name.ts';
import { isSameSetting, pinnedSettings, settingKind } from './settings.ts';

/** What a text does to the session's SQL-level prepared statements, in order. */
export type NameChange =
  | { readonly tag: 'PREPARE'; readonly name: string; readonly kinds: readonly StatementKind[]; readonly outline: StatementOutline }
  | { readonly tag: 'DEALLOCATE'; readonly name: string }
  | { readonly tag: 'DEALLOCATE ALL' | 'DISCARD ALL' };

/** The facts of one SQL text, which may hold several statements. */
export type Statement = {
  /** Kinds of all statements in the text, nested ones included, without repetition; empty for an empty text. */
  readonly kinds: readonly StatementKind[];
  readonly statementCount: number;
  /** SQL-level prepared statements that the text executes: their kinds count as well. */
  readonly executes: readonly string[];
  readonly nameChanges: readonly NameChange[];
  /** COPY … FROM STDIN is among the statements. */
  readonly isCopyIn: boolean;
  /** A setting that the relay pins, because text would otherwise be read differently by the relay and the server. */
  readonly pinnedSetting?: string;
  /** The text sets a password or carries connection secrets; it must not be recorded as it is. */
  readonly hasSecret: boolean;
  /** Byte offsets of secret values that may stand in the text as bare words. */
  readonly secretOffsets: readonly number[];
  /** One for each statement, in order. */
  readonly outlines: readonly StatementOutline[];
  /** In order. Those of a prepared statement stand here and again with what executes it. */
  readonly settingChanges: readonly SettingChange[];
};

export type ParseTree = { readonly stmts?: readonly { readonly stmt?: Node }[] };
type Node = { readonly [field: string]: unknown };

/** Collects the facts of a whole parse tree. Total: what is not recognised becomes kind `unknown`. */
export function describeStatement(tree: ParseTree): Statement {
  const statements = (tree.stmts ?? []).map(({ stmt }) => describeNode(nameSetting(stmt ?? {})));
  const pinnedSetting = statements.find((one) => one.pinnedSetting !== undefined)?.pinnedSetting;
  return {
    kinds: unique(statements.flatMap((one) => one.kinds)),
    statementCount: statements.length,
    executes: unique(statements.flatMap((one) => one.executes)),
    nameChanges: statements.flatMap((one) => one.nameChanges),
    isCopyIn: statements.some((one) => one.isCopyIn),
    hasSecret: statements.some((one) => one.hasSecret),
    secretOffsets: statements.flatMap((one) => one.secretOffsets),
    outlines: statements.map((one) => one.outline),
    settingChanges: statements.flatMap((one) => one.outline.settingChanges),
    ...(pinnedSetting !== undefined && { pinnedSetting }),
  };
}

type Facts = {
  /** Of the statement and those nested in it. */
  kinds: StatementKind[];
  /** Of the functions that it calls. */
  callKinds: StatementKind[];
  executes: string[];
  nameChanges: NameChange[];
  isCopyIn: boolean;
  hasSecret: boolean;
  secretOffsets: number[];
  pinnedSetting?: string;
  readsSubscriptions?: true;
};

function describeNode(statement: Node): Facts & { outline: StatementOutline } {
  const facts: Facts = {
    kinds: [],
    callKinds: [],
    executes: [],
    nameChanges: [],
    isCopyIn: false,
    hasSecret: false,
    secretOffsets: [],
  };
  const [type = '', body = {}] = Object.entries(statement)[0] ?? [];
  visit(type, body as Node, facts);
  walk(body, facts);
  if (facts.readsSubscriptions === true && readsConnections(statement)) facts.kinds.push('admin');
  if (type === 'ExplainStmt' && isPlanOnly(body as Node)) {
    const { hasSecret, secretOffsets, callKinds } = facts;
    // Planning runs no statement, but it does run stable functions, among them those that run SQL from a string.
    const kinds: StatementKind[] = callKinds.includes('admin') ? ['read', 'admin'] : ['read'];
    const outline = outlineStatement(statement, kinds, true);
    return { kinds, callKinds, executes: [], nameChanges: [], isCopyIn: false, hasSecret, secretOffsets, outline };
  }
  facts.kinds = unique([...facts.kinds, ...facts.callKinds]);
  const outline = outlineStatement(statement, facts.kinds, false);
  if (type === 'PrepareStmt') {
    const name = truncateName(String((body as Node)['name']));
    facts.nameChanges.push({ tag: 'PREPARE', name, kinds: facts.kinds, outline });
  }
  return { ...facts, outline };
}

/** Every node below, on an own stack: the tree may be deeper than JavaScript's, and its lists longer than a call takes. */
function walk(root: unknown, facts: Facts): void {
  const stack: unknown[] = [root];
  while (stack.length > 0) {
    const value = stack.pop();
    if (Array.isArray(value)) for (const item of value as unknown[]) stack.push(item);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) {
        if (typeof child === 'string' && child.length > 8 && holdsSecret(child)) facts.hasSecret = true;
        if (typeof child !== 'object' || child === null) continue;
        if (/^[A-Z]/.test(key)) visit(key, child as Node, facts);
        // Of COPY and the like, without the name of its type.
        else if ('relname' in child) visit('RangeVar', child as Node, facts);
        else if (key === 'intoClause') facts.kinds.push('schema');
        else if (key === 'lockingClause') facts.kinds.push('write');
        // In ALTER ROLE, DATABASE and SYSTEM … SET, which are of kind admin by themselves.
        else if (key === 'setstmt') visitSet(child as Node, facts);
        stack.push(child);
      }
    }
  }
}

function visit(type: string, node: Node, facts: Facts): void {
  if (type.endsWith('Stmt')) facts.kinds.push(kindOfNode(type, node));
  switch (type) {
    case 'ExecuteStmt':
      facts.executes.push(truncateName(String(node['name'])));
      break;
    case 'DeallocateStmt':
      facts.nameChanges.push(
        node['isall'] === true
          ? { tag: 'DEALLOCATE ALL' }
          : { tag: 'DEALLOCATE', name: truncateName(String(node['name'])) },
      );
      break;
    case 'DiscardStmt':
      if (node['target'] === 'DISCARD_ALL') facts.nameChanges.push({ tag: 'DISCARD ALL' });
      break;
    case 'CopyStmt':
      if (node['is_from'] === true && node['filename'] === undefined) facts.isCopyIn = true;
      break;
    case 'VariableSetStmt':
      visitSet(node, facts);
      break;
    case 'FuncCall':
      visitFunction(node, facts);
      break;
    case 'ColumnRef':
      noteCalls((node['fields'] as unknown[]).slice(1), facts);
      break;
    case 'A_Indirection':
      noteCalls(node['indirection'] as unknown[], facts);
      break;
    case 'RangeVar':
      if (secretRelations.has(String(node['relname']))) facts.kinds.push('admin');
      if (node['relname'] === subscriptions) facts.readsSubscriptions = true;
      break;
    case 'DefElem':
      if (isSecretName(String(node['defname']))) facts.hasSecret = true;
      break;
    case 'CreateUserMappingStmt':
    case 'AlterUserMappingStmt':
    case 'CreateSubscriptionStmt':
    case 'AlterSubscriptionStmt':
      facts.hasSecret = true;
      break;
    default:
  }
}

/** (x).f and x.f call the function f where x is no row: ('s'::regclass).nextval. */
function noteCalls(names: readonly unknown[], facts: Facts): void {
  for (const name of names) {
    const kind = functionKind(stringOf(name));
    if (kind !== undefined) facts.callKinds.push(kind);
  }
}

function visitFunction(node: Node, facts: Facts): void {
  const name = stringOf(((node['funcname'] ?? []) as unknown[]).at(-1));
  if (takesSecret(name)) facts.hasSecret = true;
  if (name === 'set_config') return visitSetConfig((node['args'] ?? []) as readonly Node[], facts);
  const kind = functionKind(name);
  if (kind !== undefined) facts.callKinds.push(kind);
}

function visitSetConfig(args: readonly Node[], facts: Facts): void {
  const [setting, value] = ['setting_name', 'new_value'].map((parameter, index) => {
    const named = args.find((arg) => (arg['NamedArgExpr'] as Node | undefined)?.['name'] === parameter);
    return constantText(named === undefined ? args[index] : (named['NamedArgExpr'] as Node)['arg']);
  });
  // Only a setting that stands in the text can be judged; a computed name could be any.
  if (setting === undefined) {
    facts.callKinds.push('unknown');
    return;
  }
  const kind = settingKind(setting, value);
  if (kind !== undefined) facts.callKinds.push(kind);
  if (isSecretName(setting)) facts.hasSecret = true;
  notePinned(setting, value, facts);
}

function visitSet(node: Node, facts: Facts): void {
  const name = String(node['name'] ?? '');
  const args = (node['args'] ?? []) as readonly Node[];
  // RESET and SET … TO DEFAULT carry no value and return to what the relay set at login.
  if (args.length > 0) notePinned(name, args.length === 1 ? constantText(args[0]) : undefined, facts);
  if (!isSecretName(name)) return;
  facts.hasSecret = true;
  for (const arg of args) facts.secretOffsets.push(Number((arg['A_Const'] as Node | undefined)?.['location'] ?? 0));
}

function notePinned(setting: string, value: string | undefined, facts: Facts): void {
  const name = setting.toLowerCase();
  const pinned = pinnedSettings.get(name);
  if (pinned !== undefined && (value === undefined || !isSameSetting(value, pinned))) facts.pinnedSetting = name;
}

function stringOf(node: unknown): string {
  return String(((node as Node | undefined)?.['String'] as Node | undefined)?.['sval'] ?? '');
}

/** EXPLAIN EXECUTE computes the arguments also without ANALYZE, which counts here in any form: (ANALYZE false), too. */
function isPlanOnly(explain: Node): boolean {
  const options = (explain['options'] ?? []) as { DefElem?: Node }[];
  const query = explain['query'] as Node | undefined;
  return !holdsExecute(query) && !options.some(({ DefElem }) => DefElem?.['defname'] === 'analyze');
}

/** EXPLAIN takes EXECUTE directly or in CREATE TABLE … AS. */
function holdsExecute(query: Node | undefined): boolean {
  if (query?.['ExecuteStmt'] !== undefined) return true;
  const inner = (query?.['CreateTableAsStmt'] as Node | undefined)?.['query'] as Node | undefined;
  return inner?.['ExecuteStmt'] !== undefined;
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
