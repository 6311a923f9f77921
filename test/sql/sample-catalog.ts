/** A small catalog in memory for tests of facts: a shop with views, partitions, children, triggers and traps. */
import { Catalog, type CatalogData, type CatalogKey, type CatalogRelation, type RelationKind } from '../../src/sql/catalog.ts';

const id: CatalogKey = [{ name: 'id', type: 'int4' }];
let next = 1;
const relations: CatalogRelation[] = [];
function add(name: string, kind: RelationKind = 'table', more: Partial<CatalogRelation> = {}, schema = 'public'): number {
  relations.push({ id: next, schema, name, kind, ...more });
  return next++;
}

const users = add('users', 'table', { keys: [id, [{ name: 'email', type: 'text' }]] });
const orders = add('orders', 'table', { keys: [id] });
const items = add('items', 'table', { keys: [[{ name: 'order_id', type: 'int8' }, { name: 'line', type: 'int2' }]] });
add('users_pkey', 'index', { uses: [users] });
const adults = add('adults', 'view', { uses: [users], readFunctions: [{ schema: 'pg_catalog', name: 'lower' }] });
add('nested', 'view', { uses: [adults] });
add('counted', 'materialized', { uses: [orders] });
add('calling', 'view', { uses: [items], readFunctions: [{ schema: 'public', name: 'shady' }, { schema: 'pg_catalog', name: 'pg_ls_dir' }] });
const payments = add('payments', 'partitioned', { keys: [[{ name: 'id', type: 'int4' }, { name: 'day', type: 'date' }]] });
add('payments_2026', 'table', { parents: [payments], keys: [id] });
const people = add('people', 'table', { keys: [id] });
add('staff', 'table', { parents: [people] });
add('logged', 'table', { keys: [id], triggers: [{ events: 6, runs: { schema: 'public', name: 'log_change' } }] });
add('ruled', 'table', { keys: [id], ruleEvents: 4, ruleUses: [orders] });
const owner = add('owners', 'table', { keys: [id] });
const pets = add('pets', 'table', { keys: [id] });
const toys = add('toys', 'table', { keys: [id] });
(relations[owner - 1] as { references?: object }).references = [{ from: pets, columns: ['id'], onDelete: 'delete', onUpdate: 'none' }];
(relations[pets - 1] as { references?: object }).references = [{ from: toys, columns: ['id'], onDelete: 'update', onUpdate: 'update' }];
add('secured', 'table', { keys: [id], uses: [users] });
add('remote', 'foreign');
add('ids', 'sequence');
add('users', 'table', { keys: [id] }, 'app');
add('accounts', 'table', { keys: [id] }, 'app');
add('naïve', 'table', { keys: [id] });
add('Users', 'table', {});
add('scratch', 'table', {}, 'pg_temp_7');
for (const name of ['pg_class', 'pg_authid', 'pg_settings', 'pg_proc']) add(name, 'table', {}, 'pg_catalog');

const builtin = 'lower upper count max abs now nextval setval set_config coalesce length pg_sleep pg_advisory_lock pg_notify query_to_xml generate_series unnest row_to_json pg_terminate_backend lo_unlink btrim array_agg date_part extract'
  .split(' ')
  .map((name) => ({ schema: 'pg_catalog', name, isUnary: true as const, ...(name === 'row_to_json' && { takesRow: true as const }), ...(/^(?:generate_series|unnest)$/.test(name) && { returnsSet: true as const }) }));

export const sampleData: CatalogData = {
  relations,
  schemas: ['pg_catalog', 'public', 'app'],
  functions: [
    ...builtin,
    { schema: 'public', name: 'shady', isUnary: true },
    { schema: 'public', name: 'full_name', isUnary: true, takesRow: true },
    { schema: 'public', name: 'similarity', isTrusted: true },
    { schema: 'public', name: 'max', isUnary: true, isTrusted: true },
    { schema: 'public', name: 'abs', isUnary: true },
    { schema: 'other', name: 'length', isUnary: true },
    { schema: 'app', name: 'cleanup' },
  ],
  operators: [
    { schema: 'public', name: '%%', runs: { schema: 'public', name: 'shady' } },
    { schema: 'public', name: '<->', runs: { schema: 'public', name: 'similarity' }, isTrusted: true },
    { schema: 'other', name: '+', runs: { schema: 'public', name: 'shady' } },
  ],
  types: [{ schema: 'public', name: 'checked', runs: [{ schema: 'public', name: 'shady' }] }, { schema: 'public', name: 'mood' }],
  implicitCasts: [],
};

export const sampleCatalog = new Catalog(sampleData);
