/** The sub-select that stands in place of a relation with masks, and the edit that puts it there. */
import { quoteName } from '../sql/names.ts';
import type { Change, Tokens } from './edits.ts';
import { shownSettings } from './lists.ts';
import type { Found } from './relations.ts';
import { Refusal } from './refusal.ts';
import { listOf, locationOf, namesOf, nodeOf, type Node } from './tree.ts';

export type SpliceOptions = {
  readonly bytes: Buffer;
  readonly tokens: Tokens;
};

/** Undefined for one that is read as it is. `sample`: the TABLESAMPLE behind it, which moves inside; `view`: its definition with masks. */
export function spliceRelation(found: Found, node: Node, { sample, view }: { sample: Node | undefined; view: string | undefined }, options: SpliceOptions): Change | undefined {
  const { tokens, bytes } = options;
  const at = locationOf(node);
  if (at === undefined) throw new Refusal('syntax', `${found.name} cannot be replaced where it stands`, 'Write it as SELECT … FROM.');
  const isOnly = node['inh'] !== true;
  const sampleText = sample === undefined ? undefined : sampleRange(sample, tokens);
  const inside = sampleText === undefined ? '' : ` ${bytes.subarray(sampleText.start, sampleText.end).toString('utf8')}`;
  const leaf = leafOf(found, isOnly, inside, view);
  if (leaf === undefined) return undefined;
  const place = placeOf(node, at, isOnly, tokens);
  const alias = node['alias'] as Node | undefined;
  const name = alias === undefined ? ` AS ${quoteName(found.name)}` : '';
  const text = `${place.isTable ? 'SELECT * FROM ' : ''}(${leaf})${name}`;
  if (sampleText === undefined) return { start: place.start, end: place.end, text };
  // What stands between the name and TABLESAMPLE is the alias, and what ends a comment behind it.
  const between = bytes.subarray(place.end, sampleText.start).toString('utf8');
  return { start: place.start, end: sampleText.end, text: `${text}${between}` };
}

export function leafOf(found: Found, isOnly: boolean, sample: string, view: string | undefined): string | undefined {
  const { planned } = found;
  if (planned === undefined) return ownLeaf(found, sample);
  if (planned.access === 'masked') {
    const columns = planned.columns.map(({ name, sql }) => (sql === undefined ? quoteName(name) : `${sql} AS ${quoteName(name)}`));
    const from = `${isOnly ? 'ONLY ' : ''}${quoteName(planned.schema)}.${quoteName(planned.name)}`;
    return `SELECT ${columns.join(', ')} FROM ${from}${sample}`;
  }
  if (planned.access !== 'view') return undefined;
  if (sample !== '') throw new Refusal('relation', `${found.schema}.${found.name} is a view, which has no rows to sample`, 'Sample its tables.');
  // Nothing is pushed into a view that its owner has made a barrier.
  if (view === undefined) return undefined;
  return `${view}${planned.isBarrier ? ' OFFSET 0' : ''}`;
}

/** Of the catalog's own relations: those of which a part holds data. The sampling of them is not worth having. */
function ownLeaf(found: Found, sample: string): string | undefined {
  if (!isReplaced(found)) return undefined;
  if (sample !== '') throw new Refusal('relation', `${found.name} cannot be sampled with masks`, 'Leave TABLESAMPLE out.');
  switch (found.name) {
    case 'pg_attribute':
      return `SELECT ${attributeColumns(found.serverMajor ?? 0)} FROM pg_catalog.pg_attribute`;
    case 'pg_sequences':
      return `SELECT ${sequenceColumns.join(', ')}, NULL::pg_catalog.int8 AS last_value FROM pg_catalog.pg_sequences`;
    default:
      return settingsLeaf();
  }
}

/** Whether a relation must not be read as it is. */
export function isReplaced({ planned, schema, name }: Found): boolean {
  return planned === undefined ? schema === 'pg_catalog' && replacedCatalogs.has(name) : planned.access !== 'clean';
}

const replacedCatalogs: ReadonlySet<string> = new Set(['pg_settings', 'pg_attribute', 'pg_sequences']);

/** All but attmissingval, which holds the value that rows have of a column that was added later, in the order that the majors have them. */
function attributeColumns(major: number): string {
  const known = attributesOf.get(major);
  if (known === undefined) throw new Refusal('relation', `the columns of pg_attribute are not known for version ${major}`, 'Use information_schema.columns.');
  return known.replaceAll(' ', ', ');
}

const attributeRest = 'attnotnull atthasdef atthasmissing attidentity attgenerated attisdropped attislocal attinhcount';
const attributesOf: ReadonlyMap<number, string> = new Map([
  [15, `attrelid attname atttypid attstattarget attlen attnum attndims attcacheoff atttypmod attbyval attalign attstorage attcompression ${attributeRest} attcollation attacl attoptions attfdwoptions`],
  [16, `attrelid attname atttypid attlen attnum attcacheoff atttypmod attndims attbyval attalign attstorage attcompression ${attributeRest} attstattarget attcollation attacl attoptions attfdwoptions`],
  [17, `attrelid attname atttypid attlen attnum attcacheoff atttypmod attndims attbyval attalign attstorage attcompression ${attributeRest} attcollation attstattarget attacl attoptions attfdwoptions`],
  [18, `attrelid attname atttypid attlen attnum atttypmod attndims attbyval attalign attstorage attcompression ${attributeRest} attcollation attstattarget attacl attoptions attfdwoptions`],
]);

const sequenceColumns = ['schemaname', 'sequencename', 'sequenceowner', 'data_type', 'start_value', 'min_value', 'max_value', 'increment_by', 'cycle', 'cache_size'];

function settingsLeaf(): string {
  const names = [...shownSettings].map((name) => `'${name}'`).join(', ');
  return `SELECT * FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) ANY (ARRAY[${names}]::pg_catalog.text[])`;
}

/** FROM pg_show_all_settings(), as tools write it, is pg_settings by another name. Undefined for any other function. */
export function settingsInstead(node: Node, tokens: Tokens): Change | undefined {
  const [item] = listOf(node['functions']);
  const call = nodeOf(listOf(nodeOf(item, 'List')?.['items'])[0], 'FuncCall');
  if (listOf(node['functions']).length !== 1 || call === undefined || call['args'] !== undefined || namesOf(call['funcname']).at(-1) !== 'pg_show_all_settings') return undefined;
  if (node['alias'] !== undefined || node['coldeflist'] !== undefined || node['ordinality'] === true || node['lateral'] === true) return undefined;
  const first = tokens.indexAt(locationOf(call) ?? -1);
  const open = tokens.endOfName(first, namesOf(call['funcname']).length) + 1;
  return { start: tokens.start(first), end: tokens.end(tokens.closing(open)), text: `(${settingsLeaf()}) AS pg_show_all_settings` };
}

/** From ONLY or TABLE to the end of the name, the star of inheritance and parentheses of ONLY included. */
function placeOf(node: Node, at: number, isOnly: boolean, tokens: Tokens): { start: number; end: number; isTable: boolean } {
  const parts = 1 + Number(node['schemaname'] !== undefined) + Number(node['catalogname'] !== undefined);
  let first = tokens.indexAt(at);
  let last = tokens.endOfName(first, parts);
  if (isOnly) {
    if (tokens.word(first - 1) === '(' && tokens.word(last + 1) === ')') [first, last] = [first - 1, last + 1];
    if (tokens.word(first - 1) !== 'only') throw new Refusal('syntax', 'ONLY cannot be found where it should stand', 'Write ONLY right before the name.', at);
    first -= 1;
  } else if (tokens.word(last + 1) === '*') last += 1;
  const isTable = tokens.word(first - 1) === 'table';
  if (isTable) first -= 1;
  return { start: tokens.start(first), end: tokens.end(last), isTable };
}

/** From TABLESAMPLE to the last parenthesis. */
function sampleRange(sample: Node, tokens: Tokens): { start: number; end: number } {
  let first = tokens.indexAt(locationOf(sample) ?? -1);
  while (tokens.word(first) !== 'tablesample' && first > 0) first -= 1;
  let open = first;
  while (tokens.word(open) !== '(' && open < tokens.list.length) open += 1;
  let last = tokens.closing(open);
  if (tokens.word(last + 1) === 'repeatable') last = tokens.closing(last + 2);
  return { start: tokens.start(first), end: tokens.end(last) };
}
