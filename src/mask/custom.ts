/** Masks that a policy writes as SQL over `value`: taken only where they compute from it alone and cannot fail. Pure. */
import type { Syntax } from '../sql/parser.ts';
import type { MaskRules } from './plan.ts';
import { kindOf, listOf, locationOf, namesOf, nodeOf, stringOf, type Node } from './tree.ts';

/** None of them raises an error, whatever text they are given. */
const totalFunctions = new Set(['left', 'right', 'lower', 'upper', 'initcap', 'length', 'char_length', 'octet_length', 'reverse', 'btrim', 'ltrim', 'rtrim', 'replace', 'translate', 'starts_with', 'strpos', 'concat', 'split_part', 'position']);
const totalOperators = new Set(['||', '=', '<>', '<', '>', '<=', '>=', '~~', '!~~', '~~*', '!~~*']);

export type CustomMask = { readonly parts: readonly string[] } | { readonly problem: string };

/** Texts that `cutRules` must have parsed. */
export function customTexts({ rules }: MaskRules): string[] {
  return rules.flatMap(({ mask }) => (mask.kind === 'sql' ? [asSelect(mask.sql)] : []));
}

function asSelect(sql: string): string {
  return `SELECT ${sql}`;
}

/** Rules with their SQL taken apart. One that is not safe shows NULL; `problems` says why. */
export function cutRules(rules: MaskRules, syntaxOf: (sql: string) => Syntax | undefined): { readonly rules: MaskRules; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const cut = rules.rules.map((rule) => {
    const { mask } = rule;
    if (mask.kind !== 'sql') return rule;
    const found = cutMaskSql(mask.sql, syntaxOf(asSelect(mask.sql)));
    if (!('problem' in found)) return { ...rule, mask: { ...mask, parts: found.parts } };
    problems.push(`the SQL of the rule ${rule.path} cannot be used, so its columns are shown as NULL: ${found.problem}`);
    return { ...rule, mask: { kind: 'null' } as const };
  });
  return { rules: { ...rules, rules: cut }, problems };
}

/** `syntax`: of "SELECT <sql>". Answers what stands around each `value`. */
export function cutMaskSql(sql: string, syntax: Syntax | undefined): CustomMask {
  const statements = listOf(syntax?.tree.stmts);
  const select = nodeOf((statements[0] as Node | undefined)?.['stmt'], 'SelectStmt');
  const targets = listOf(select?.['targetList']);
  const target = nodeOf(targets[0], 'ResTarget');
  const fields = Object.keys(select ?? {}).filter((field) => !['targetList', 'limitOption', 'op'].includes(field));
  if (statements.length !== 1 || targets.length !== 1 || target === undefined || fields.length > 0 || target['name'] !== undefined) return { problem: 'it is not one expression' };
  const places: number[] = [];
  const problem = problemOf(target['val'], places);
  if (problem !== undefined) return { problem };
  const bytes = Buffer.from(`SELECT ${sql}`, 'utf8');
  const parts: string[] = [];
  let from = 'SELECT '.length;
  for (const place of places.toSorted((left, right) => left - right)) {
    if (bytes.subarray(place, place + 5).toString('utf8').toLowerCase() !== 'value') return { problem: 'value must be written plainly' };
    parts.push(bytes.subarray(from, place).toString('utf8'));
    from = place + 5;
  }
  return { parts: [...parts, bytes.subarray(from).toString('utf8')] };
}

/** What of the expression could fail, or depend on anything else; notes where `value` stands. */
function problemOf(wrapped: unknown, places: number[]): string | undefined {
  const [kind, node] = kindOf(wrapped) ?? ['nothing', {}];
  const all = (...parts: unknown[]) => parts.flatMap(listOf).map((part) => problemOf(part, places)).find((problem) => problem !== undefined);
  switch (kind) {
    case 'A_Const':
      return undefined;
    case 'ColumnRef': {
      const names = listOf(node['fields']).map(stringOf);
      if (names.length !== 1 || names[0] !== 'value') return `it names ${names.join('.')}, and only value is there`;
      places.push(locationOf(node) ?? -1);
      return undefined;
    }
    case 'FuncCall': {
      const names = namesOf(node['funcname']);
      const name = names.at(-1) ?? '';
      if (!totalFunctions.has(name) || (names.length > 1 && names[0] !== 'pg_catalog')) return `the function ${names.join('.')} could fail or is not known`;
      if (name === 'split_part' && !isPositive(listOf(node['args'])[2])) return 'the number of split_part must be a constant above zero';
      const extra = Object.keys(node).filter((field) => !['funcname', 'args', 'funcformat', 'location'].includes(field));
      return extra.length > 0 ? `${name} is called in a way that is not known` : all(node['args']);
    }
    case 'A_Expr': {
      const operator = namesOf(node['name']).join('.');
      if (!totalOperators.has(operator) || !['AEXPR_OP', 'AEXPR_LIKE', 'AEXPR_ILIKE', 'AEXPR_IN'].includes(String(node['kind']))) return `the operator ${operator} could fail or is not known`;
      if (['AEXPR_LIKE', 'AEXPR_ILIKE'].includes(String(node['kind'])) && nodeOf(node['rexpr'], 'A_Const') === undefined) return 'the pattern of LIKE must be a constant';
      return all([node['lexpr']], node['kind'] === 'AEXPR_IN' ? nodeOf(node['rexpr'], 'List')?.['items'] : [node['rexpr']]);
    }
    case 'BoolExpr':
    case 'CoalesceExpr':
      return all(node['args']);
    case 'NullTest':
      return all([node['arg']]);
    case 'CaseExpr':
      if (node['arg'] !== undefined) return 'write CASE WHEN conditions';
      return all(listOf(node['args']).flatMap((item) => [nodeOf(item, 'CaseWhen')?.['expr'], nodeOf(item, 'CaseWhen')?.['result']]), node['defresult'] === undefined ? [] : [node['defresult']]);
    default:
      return `${kind} is not known to be safe`;
  }
}

function isPositive(wrapped: unknown): boolean {
  return Number((nodeOf(wrapped, 'A_Const')?.['ival'] as Node | undefined)?.['ival'] ?? 0) > 0;
}
