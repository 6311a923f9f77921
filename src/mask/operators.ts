/** Operators and types of a statement: the server's own, those of extensions that only compute, and what is made of them. */
import type { SessionNames } from '../sql/session-names.ts';
import { builtInTypes } from './built-in-types.ts';
import type { MaskPlan } from './plan.ts';
import { Refusal } from './refusal.ts';
import { searchOrder } from './relations.ts';
import { listOf, locationOf, namesOf, type Node } from './tree.ts';

type Look = { readonly names: SessionNames; readonly plan: MaskPlan };

/** `name`: a list of String nodes, the schema first where one is written. */
export function checkOperator(name: unknown, { names }: Look, at: number | undefined): void {
  const [schema, symbol = schema] = namesOf(name).length > 1 ? namesOf(name) : [undefined, ...namesOf(name)];
  if (schema === 'pg_catalog') return;
  if (symbol === '#=' && (names.catalog?.operatorsNamed('#=') ?? []).length > 0) throw new Refusal('operator', 'the operator #= makes values of any type that a row has', 'Name the columns.', at);
  const others = names.catalog?.operatorsNamed(String(symbol)) ?? [];
  const inSight = others.filter((one) => (schema === undefined ? searchOrder(names).includes(one.schema) : one.schema === schema));
  if (schema !== undefined && inSight.length === 0) throw new Refusal('operator', `the operator ${schema}.${symbol} is not known`, 'Use one of pg_catalog.', at);
  const unknown = inSight.find((one) => one.isTrusted !== true);
  if (unknown === undefined) return;
  throw new Refusal('operator', `the operator ${symbol} could be ${unknown.schema}.${unknown.name}, which runs code of the database's own`, `Write OPERATOR(pg_catalog.${symbol}).`, at);
}

/** Operators that a node names, or uses without naming them. */
export function operatorsOf(kind: string, node: Node): readonly unknown[] {
  const plain = (...symbols: string[]) => symbols.map((symbol) => [{ String: { sval: symbol } }]);
  switch (kind) {
    case 'A_Expr':
      switch (node['kind']) {
        case 'AEXPR_BETWEEN':
        case 'AEXPR_NOT_BETWEEN':
        case 'AEXPR_BETWEEN_SYM':
        case 'AEXPR_NOT_BETWEEN_SYM':
          return plain('<', '>', '<=', '>=');
        case 'AEXPR_NULLIF':
        case 'AEXPR_DISTINCT':
        case 'AEXPR_NOT_DISTINCT':
          return plain('=');
        case 'AEXPR_OP':
        case 'AEXPR_OP_ANY':
        case 'AEXPR_OP_ALL':
        case 'AEXPR_IN':
        case 'AEXPR_LIKE':
        case 'AEXPR_ILIKE':
        case 'AEXPR_SIMILAR':
          return [node['name']];
        default:
          throw new Refusal('operator', `the expression ${String(node['kind'])} is not known`, 'Write it in plainer words.', locationOf(node));
      }
    case 'CaseExpr':
      return node['arg'] === undefined ? [] : plain('=');
    case 'JoinExpr':
      return node['usingClause'] === undefined && node['isNatural'] !== true ? [] : plain('=');
    case 'SortBy':
      return listOf(node['useOp']).length === 0 ? [] : [node['useOp']];
    case 'SubLink':
      if (node['operName'] !== undefined) return [node['operName']];
      return node['testexpr'] === undefined ? [] : plain('=');
    default:
      return [];
  }
}

/** A cast to a type runs its input function and the checks of its domains. */
export function checkType(node: Node, { names, plan }: Look): void {
  const at = locationOf(node);
  const parts = namesOf(node['names']);
  const [schema, name = schema] = parts.length > 1 ? parts.slice(-2) : [undefined, ...parts];
  const shown = parts.join('.');
  if (node['pct_type'] === true) throw new Refusal('type', `the type ${shown}%TYPE is not known`, 'Write the type itself.', at);
  if (listOf(node['names']).length === 0) throw new Refusal('type', 'a type without a name is not known', 'Write the type itself.', at);
  const others = names.catalog?.data.details?.types.filter((one) => one.name === name) ?? [];
  const order = schema === undefined ? searchOrder(names) : [schema];
  const isBuiltIn = order.includes('pg_catalog') && builtInTypes.has(String(name));
  const found = others.find((one) => order.includes(one.schema));
  const relation = names.catalog?.relationsNamed(String(name)).find((one) => order.includes(one.schema) && one.schema !== 'pg_catalog');
  if (relation !== undefined) throw new Refusal('type', `${shown} is the row type of a relation`, 'Name its columns.', at);
  // pg_catalog comes first where it is in the path without being named, so a type of that name there is meant.
  if (found === undefined) {
    if (isBuiltIn) return;
    throw new Refusal('type', `the type ${shown} is not known`, 'Use one of pg_catalog, an enum, or one of an extension that only computes.', at);
  }
  const reason = plan.typeProblem(found.id);
  if (reason !== undefined) throw new Refusal('type', `the type ${shown} is not known to be safe: ${reason}`, 'Use its base type.', at);
}
