/** What expressions call: functions in all their notations, operators, types, and settings by set_config. */
import { constantText } from './constant.ts';
import { functionKind, locks, runsText } from './functions.ts';
import type { Node, Notes } from './outline-notes.ts';
import { objectName, stringsOf } from './outline-notes.ts';
import { parseName } from './search-path.ts';
import { changeOfSetConfig } from './setting-changes.ts';

export function noteExpression(type: string, node: Node, notes: Notes): void {
  switch (type) {
    case 'FuncCall':
      return noteCall(node, notes);
    case 'A_Expr':
      notes.operator(objectName(node['name']));
      // BETWEEN stands for two comparisons.
      if (/BETWEEN/.test(String(node['kind']))) for (const name of ['>=', '<=', '<', '>']) notes.operator({ name });
      return;
    case 'SubLink':
      if (node['operName'] !== undefined) notes.operator(objectName(node['operName']));
      else if (node['subLinkType'] === 'ANY_SUBLINK') notes.operator({ name: '=' });
      return;
    case 'SortBy':
      if (node['useOp'] !== undefined) notes.operator(objectName(node['useOp']));
      return;
    case 'CaseExpr':
      if (node['arg'] !== undefined) notes.operator({ name: '=' });
      return;
    case 'JoinExpr':
      if (node['usingClause'] !== undefined || node['isNatural'] === true) notes.operator({ name: '=' });
      return;
    case 'TypeName':
    case '.typeName':
      return notes.type(objectName(node['names']));
    case 'ColumnRef':
      return noteColumn(stringsOf(node['fields']), notes);
    case 'A_Indirection':
      for (const name of stringsOf(node['indirection'])) noteField({ name }, notes);
      return;
    case 'RangeFunction':
      return noteAlias(node, notes);
    default:
  }
}

/** t.f may be a function of the row t, or of the value t where t is an alias of a function. */
function noteColumn(fields: readonly string[], notes: Notes): void {
  const name = fields.at(-1);
  if (name === undefined || fields.length < 2) return;
  notes.call({ ...(fields.length === 2 && { schema: fields[0] as string }), name }, 'column');
}

function noteField(name: { readonly name: string }, notes: Notes): void {
  notes.call(name, 'field');
  if (runsText(name.name)) notes.runsCode = true;
}

function noteAlias(node: Node, notes: Notes): void {
  const alias = (node['alias'] as Node | undefined)?.['aliasname'];
  if (typeof alias === 'string') notes.functionAliases.add(alias);
  for (const list of (node['functions'] ?? []) as Node[]) {
    const [item] = (((list['List'] as Node | undefined)?.['items'] ?? []) as Node[]).map((one) => one['FuncCall'] as Node | undefined);
    if (item !== undefined) notes.functionAliases.add(objectName(item['funcname']).name);
  }
}

function noteCall(node: Node, notes: Notes): void {
  const name = objectName(node['funcname']);
  const args = (node['args'] ?? []) as readonly Node[];
  notes.call(name, 'call');
  if (runsText(name.name)) notes.runsCode = true;
  if (locks(name.name)) notes.isLocking = true;
  if (name.name === 'set_config') notes.setting(changeOfSetConfig(args), true);
  else if (name.name === 'nextval' || name.name === 'setval') noteSequence(args[0], notes);
  // Large objects are no rows of relations that could be counted.
  else if (functionKind(name.name) === 'write' && name.name.startsWith('lo')) notes.isUnbounded = true;
}

/** nextval('s') names its sequence in a string. Its advance is no change of a row. */
function noteSequence(argument: Node | undefined, notes: Notes): void {
  let constant = argument;
  while (constant?.['TypeCast'] !== undefined) constant = (constant['TypeCast'] as Node)['arg'] as Node;
  const text = constantText(constant) ?? '';
  const names = /^\s*\d*\s*$/.test(text) ? undefined : parseName(text.trim());
  // Computed, or an OID: it could be any.
  if (names === undefined || names.length === 0) return notes.defineNamed({ name: '*' }, { action: 'update', rows: { most: 0 } });
  const [name = '', schemaname] = names.toReversed();
  const relation = { relname: name, inh: true, ...(schemaname !== undefined && { schemaname }) };
  notes.change(relation, { action: 'update', rows: { most: 0 } });
}
