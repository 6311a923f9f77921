/** From PostgreSQL's own parse tree to the facts that policy decides on: kinds, prepared names, settings. Pure. */
import { functionKind } from './functions.ts';
import type { StatementKind } from './kind.ts';
import { kindOfNode } from './node-kinds.ts';
import { isActingSetting, isSameSetting, liftsReadOnly, pinnedSettings } from './settings.ts';

/** What a text does to the session's SQL-level prepared statements, in order. */
export type NameChange =
  | { readonly tag: 'PREPARE'; readonly name: string; readonly kinds: readonly StatementKind[] }
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
};

export type ParseTree = { readonly stmts?: readonly { readonly stmt?: Node }[] };
type Node = { readonly [field: string]: unknown };

/** Collects the facts of a whole parse tree. Total: what is not recognised becomes kind `unknown`. */
export function describeStatement(tree: ParseTree): Statement {
  const statements = (tree.stmts ?? []).map(({ stmt }) => describeNode(stmt ?? {}));
  const pinnedSetting = statements.find((one) => one.pinnedSetting !== undefined)?.pinnedSetting;
  return {
    kinds: unique(statements.flatMap((one) => one.kinds)),
    statementCount: statements.length,
    executes: unique(statements.flatMap((one) => one.executes)),
    nameChanges: statements.flatMap((one) => one.nameChanges),
    isCopyIn: statements.some((one) => one.isCopyIn),
    hasSecret: statements.some((one) => one.hasSecret),
    ...(pinnedSetting !== undefined && { pinnedSetting }),
  };
}

type Facts = {
  kinds: StatementKind[];
  executes: string[];
  nameChanges: NameChange[];
  isCopyIn: boolean;
  hasSecret: boolean;
  pinnedSetting?: string;
};

function describeNode(statement: Node): Facts {
  const facts: Facts = { kinds: [], executes: [], nameChanges: [], isCopyIn: false, hasSecret: false };
  const [type = '', body = {}] = Object.entries(statement)[0] ?? [];
  visit(type, body as Node, facts);
  if (type !== 'ExplainStmt' || hasAnalyze(body as Node)) walk(body, facts);
  else facts.kinds = ['read'];
  facts.kinds = unique(facts.kinds);
  if (type === 'PrepareStmt') {
    const name = truncateName(String((body as Node)['name']));
    facts.nameChanges.push({ tag: 'PREPARE', name, kinds: facts.kinds });
  }
  return facts;
}

/** Every node below, on an own stack: the tree may be deeper than JavaScript's. */
function walk(root: unknown, facts: Facts): void {
  const stack: unknown[] = [root];
  while (stack.length > 0) {
    const value = stack.pop();
    if (Array.isArray(value)) stack.push(...(value as unknown[]));
    else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) {
        if (typeof child !== 'object' || child === null) continue;
        if (/^[A-Z]/.test(key)) visit(key, child as Node, facts);
        else if (key === 'intoClause') facts.kinds.push('schema');
        else if (key === 'lockingClause') facts.kinds.push('write');
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
      noteSetting(String(node['name'] ?? ''), constantText((node['args'] as unknown[] | undefined)?.[0]), facts);
      break;
    case 'FuncCall':
      visitFunction(node, facts);
      break;
    case 'DefElem':
      if (/passw|secret|token/i.test(String(node['defname']))) facts.hasSecret = true;
      break;
    case 'CreateSubscriptionStmt':
    case 'AlterSubscriptionStmt':
      facts.hasSecret = true;
      break;
    default:
  }
}

function visitFunction(node: Node, facts: Facts): void {
  const path = ((node['funcname'] ?? []) as Node[]).map((part) => String((part['String'] as Node | undefined)?.['sval']));
  const name = path.at(-1) ?? '';
  if (name.startsWith('dblink')) facts.hasSecret = true;
  if (name !== 'set_config') {
    const kind = functionKind(name);
    if (kind !== undefined) facts.kinds.push(kind);
    return;
  }
  const [setting, value] = ((node['args'] ?? []) as unknown[]).map(constantText);
  // Only a setting that stands in the text can be judged; a computed name could be any.
  if (setting === undefined) facts.kinds.push('unknown');
  else {
    if (isActingSetting(setting)) facts.kinds.push('admin');
    if (liftsReadOnly(setting)) facts.kinds.push('write');
    noteSetting(setting, value, facts);
  }
}

function noteSetting(setting: string, value: string | undefined, facts: Facts): void {
  const name = setting.toLowerCase();
  const pinned = pinnedSettings.get(name);
  // RESET and SET … TO DEFAULT carry no value and return to what the relay set at login.
  if (pinned !== undefined && value !== undefined && !isSameSetting(value, pinned)) facts.pinnedSetting = name;
}

function constantText(node: unknown): string | undefined {
  const constant = (node as Node | undefined)?.['A_Const'] as Node | undefined;
  if (constant === undefined) return undefined;
  const text = (constant['sval'] as Node | undefined)?.['sval'] ?? (constant['fval'] as Node | undefined)?.['fval'];
  if (text !== undefined) return String(text);
  if (constant['ival'] !== undefined) return String((constant['ival'] as Node)['ival'] ?? 0);
  if (constant['boolval'] !== undefined) return String((constant['boolval'] as Node)['boolval'] ?? false);
  return undefined;
}

/** Any mention counts, also (ANALYZE false): the mistake is then on the safe side. */
function hasAnalyze(explain: Node): boolean {
  const options = (explain['options'] ?? []) as { DefElem?: Node }[];
  return options.some(({ DefElem }) => DefElem?.['defname'] === 'analyze');
}

/** PostgreSQL cuts names at 63 bytes; two names that differ only behind that are one. */
function truncateName(name: string): string {
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length <= 63) return name;
  let end = 63;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString('utf8');
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
