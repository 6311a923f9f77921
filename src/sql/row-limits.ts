/** From what a text says about rows, and the unique keys of a relation, to the most rows that can be meant. */
import type { Catalog, CatalogKeyColumn, CatalogRelation } from './catalog.ts';
import type { Change, Condition } from './outline.ts';

type Lookup = {
  readonly catalog: Catalog;
  /** Types that Parse declared for $1 and so on. */
  readonly parameterTypes: readonly number[];
  readonly path: readonly string[] | undefined;
};

/**
 * Constants of these types can be compared with a column of these types without changing what the column's value
 * means: no two different values of the column equal the same constant. (bigint = float8, timestamp = timestamptz and
 * date = timestamptz are not so.)
 */
const comparable: readonly (readonly [columns: readonly string[], constants: readonly string[]])[] = [
  [['int2', 'int4', 'int8', 'numeric', 'oid'], ['int', 'numeric', '.int2', '.int4', '.int8', '.numeric']],
  [['float4', 'float8'], ['int', 'numeric', '.float4', '.float8', '.int2', '.int4', '.int8', '.numeric']],
  [['text', 'varchar', 'bpchar'], ['.text', '.varchar']],
  [['bool'], ['bool', '.bool']],
  ...['uuid', 'date', 'timestamp', 'timestamptz', 'time', 'bytea', 'inet', 'macaddr', 'interval', 'tid'].map(
    (type): [string[], string[]] => [[type], [`.${type}`]],
  ),
];

const allowed = new Map<string, ReadonlySet<string>>(
  comparable.flatMap(([columns, constants]) => columns.map((column): [string, ReadonlySet<string>] => [column, new Set(constants)])),
);

/** pg_type.oid of the types above, as Parse declares them. */
const declaredTypes: Readonly<Record<number, string>> = {
  16: '.bool', 17: '.bytea', 20: '.int8', 21: '.int2', 23: '.int4', 25: '.text', 27: '.tid', 700: '.float4', 701: '.float8', 869: '.inet', 829: '.macaddr',
  1043: '.varchar', 1082: '.date', 1083: '.time', 1114: '.timestamp', 1184: '.timestamptz', 1186: '.interval', 1700: '.numeric', 2950: '.uuid', 705: 'unknown',
};

/** Most rows of the relation that a change or lock can meet; undefined: not proven. */
export function rowsOf(change: Pick<Change, 'rows' | 'isOnly'>, relation: CatalogRelation, lookup: Lookup): number | undefined {
  const { rows } = change;
  if (rows === undefined || relation.kind === 'view' || relation.kind === 'foreign') return undefined;
  if ('calls' in rows && rows.calls?.some((name) => lookup.catalog.functionsNamed(name).some(({ returnsSet }) => returnsSet === true))) return undefined;
  if ('isCurrent' in rows) return 1;
  if ('where' in rows) return rowsMeeting(rows.where, relation, change.isOnly === true, lookup);
  if (!('join' in rows)) return rows.most;
  const each = rowsMeeting(rows.join, relation, change.isOnly === true, lookup);
  // A row that meets none may be inserted.
  return each === undefined ? undefined : rows.most * Math.max(1, each);
}

function rowsMeeting(condition: Condition, relation: CatalogRelation, isOnly: boolean, lookup: Lookup): number | undefined {
  let sum: number | undefined = 0;
  const seen = new Set<number>();
  const open = [relation];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (seen.has(one.id)) continue;
    seen.add(one.id);
    const own = one.kind === 'foreign' ? undefined : ownRows(condition, one, lookup);
    // The keys of a partitioned table hold for all its partitions; those of a table say nothing about its children.
    if (one.kind === 'partitioned' && own !== undefined) sum += own;
    else {
      if (one.kind !== 'partitioned') {
        if (own === undefined) return undefined;
        sum += own;
      }
      for (const child of isOnly ? [] : lookup.catalog.childrenOf(one)) open.push(child);
    }
  }
  return Number.isSafeInteger(sum) ? sum : undefined;
}

/** In the relation itself, its children apart. A row's ctid is a key as well, but not one of a partitioned table. */
function ownRows(condition: Condition, relation: CatalogRelation, lookup: Lookup, depth = 0): number | undefined {
  if (condition.op === 'or') {
    let sum = 0;
    for (const term of condition.terms) {
      const rows = depth > 50 ? undefined : ownRows(term, relation, lookup, depth + 1);
      if (rows === undefined) return undefined;
      sum += rows;
    }
    return sum;
  }
  const terms = condition.op === 'and' ? condition.terms : [condition];
  const keys = relation.kind === 'partitioned' ? (relation.keys ?? []) : [...(relation.keys ?? []), [{ name: 'ctid', type: 'tid' }]];
  const proofs = [
    ...keys.map((key) => rowsOfKey(key, terms, lookup)),
    ...terms.filter((term) => term.op === 'or').map((term) => ownRows(term, relation, lookup, depth + 1)),
  ].filter((rows) => rows !== undefined);
  return proofs.length === 0 ? undefined : Math.min(...proofs);
}

function rowsOfKey(key: readonly CatalogKeyColumn[], terms: readonly Condition[], lookup: Lookup): number | undefined {
  const values = key.map(() => Infinity);
  let together = Infinity;
  for (const term of terms) {
    if (term.op !== 'equal') continue;
    const covers = key.map(({ name, type }) => term.columns.includes(name) && term.types.every((constant) => isComparable(type, constant, lookup)));
    covers.forEach((isCovered, index) => {
      if (isCovered) values[index] = Math.min(values[index] as number, term.values);
    });
    if (covers.every(Boolean)) together = Math.min(together, term.values);
  }
  const product = Math.min(together, values.reduce((rows, count) => rows * count, 1));
  return Number.isFinite(product) ? product : undefined;
}

function isComparable(column: string, constant: string, lookup: Lookup): boolean {
  // A plain string, and a parameter that the server types, take the type of the column.
  if (constant === 'unknown') return true;
  const parameter = /^\$(\d+)(\+?)$/.exec(constant);
  if (parameter !== null) {
    const declared = lookup.parameterTypes[Number(parameter[1]) - 1] ?? 0;
    // Its first use gives an undeclared parameter its type, which need not be this one.
    return declared === 0 ? parameter[2] === '' : isComparable(column, pgCatalog(declaredTypes[declared]), lookup);
  }
  if (constant.startsWith('.') && isCaptured(constant.slice(1), lookup)) return false;
  return allowed.get(column)?.has(constant.replace(/^pg_catalog\./, '.')) === true;
}

/** What Parse declares is an OID, which no other type can capture. */
function pgCatalog(type: string | undefined): string {
  return type?.startsWith('.') === true ? `pg_catalog${type}` : (type ?? 'other');
}

/** The session's temporary types come before those of pg_catalog, and a path may put others there. */
function isCaptured(type: string, { catalog, path }: Lookup): boolean {
  const others = [...catalog.typesNamed(type), ...catalog.relationsNamed(type)];
  return others.some(({ schema }) => schema !== 'pg_catalog' && (path === undefined || path.includes('pg_catalog') || schema.startsWith('pg_temp')));
}
