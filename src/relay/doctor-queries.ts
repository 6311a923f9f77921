/** What gate doctor asks a target's database: what the relay's role may do, and whether columns that no mask names look sensitive. */
import { detect } from '../mask/detect.ts';
import type { RoleFacts, Sample } from '../mask/doctor.ts';
import { quoteName } from '../sql/names.ts';
import { detectorKinds, type DetectorKind, type MaskPlan } from '../mask/plan.ts';
import type { Catalog } from '../sql/catalog.ts';
import type { RelationDetails } from '../sql/catalog-details.ts';
import type { SideConnection } from './side-connection.ts';

/** Their functions run SQL that is given as text, or show files and pages. */
const openExtensions = ['dblink', 'xml2', 'tablefunc', 'postgres_fdw', 'file_fdw', 'pageinspect', 'adminpack', 'pg_visibility', 'pgrowlocks', 'pgstattuple', 'pg_buffercache', 'amcheck'];
const functionName = `n.nspname || '.' || p.proname`;
const executable = `pg_proc p join pg_namespace n on n.oid = p.pronamespace where has_function_privilege(p.oid, 'execute') and n.nspname not in ('pg_catalog', 'information_schema')`;

const roleQuery = `select
  r.rolcreaterole, r.rolreplication, r.rolbypassrls,
  (select coalesce(json_agg(m.rolname order by 1), '[]') from pg_roles m where m.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_monitor', 'pg_read_all_settings',
    'pg_read_all_stats', 'pg_stat_scan_tables', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend')
    and not r.rolsuper and pg_has_role(m.oid, 'member')),
  has_database_privilege(current_database(), 'temporary'),
  (select coalesce(json_agg(n.nspname order by 1), '[]') from pg_namespace n where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and has_schema_privilege(n.oid, 'create')),
  (select coalesce(json_agg(s.srvname order by 1), '[]') from pg_foreign_server s where has_server_privilege(s.oid, 'usage')),
  (select coalesce(json_agg(distinct ${functionName}), '[]') from ${executable} and p.prosecdef),
  (select coalesce(json_agg(distinct ${functionName}), '[]') from ${executable} and exists (select from pg_depend e join pg_extension x on x.oid = e.refobjid
    where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e' and e.refclassid = 'pg_extension'::regclass
      and x.extname in (${openExtensions.map((name) => `'${name}'`).join(', ')}))),
  coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
  current_setting('password_encryption')
  from pg_roles r where r.rolname = current_user`;

/** Asked with search_path = pg_catalog. */
export async function readRoleFacts(connection: SideConnection): Promise<RoleFacts> {
  const [row = []] = await connection.rows(roleQuery);
  const is = (index: number) => row[index] === 't';
  const names = (index: number) => JSON.parse(row[index] ?? '[]') as string[];
  return {
    canCreateRoles: is(0),
    canReplicate: is(1),
    bypassesRowSecurity: is(2),
    memberships: names(3),
    canCreateTemporary: is(4),
    creatableSchemas: names(5),
    foreignServers: names(6),
    definerFunctions: names(7),
    textFunctions: names(8),
    usesTls: is(9),
    passwordEncryption: row[10] ?? '',
  };
}

const rowsMax = 200;
const valueCharactersMax = 2000;
const tablesMax = 500;
const sampledTypes = new Set(['text', 'varchar', 'bpchar', 'json', 'jsonb', 'xml', 'int8', 'numeric', '_text', '_varchar']);
/** Numbers are looked at as cards only. */
const numbers = new Set(['int8', 'numeric']);

/**
 * Up to 200 rows of each table without masks. A table that cannot be read in time is passed over; `deadline` ends it all.
 * The connection should have a statement_timeout.
 */
export async function sampleColumns(connection: SideConnection, of: { readonly catalog: Catalog; readonly plan: MaskPlan; readonly isOver: () => boolean }): Promise<Sample[]> {
  const { catalog, plan, isOver } = of;
  const samples: Sample[] = [];
  const tables = (catalog.data.details?.relations ?? []).filter(({ id }) => {
    const kind = catalog.relation(id)?.kind;
    return plan.relation(id)?.access === 'clean' && (kind === 'table' || kind === 'partitioned' || kind === 'materialized');
  });
  for (const details of tables.slice(0, tablesMax)) {
    if (isOver() || connection.isBroken) break;
    samples.push(...(await sampleTable(connection, catalog, details).catch(() => [])));
  }
  return samples;
}

async function sampleTable(connection: SideConnection, catalog: Catalog, details: RelationDetails): Promise<Sample[]> {
  const relation = catalog.relation(details.id);
  const columns = details.columns.filter(({ baseType, isUnreadable }) => sampledTypes.has(baseType) && isUnreadable !== true);
  if (relation === undefined || columns.length === 0) return [];
  const counts = columns.map(() => ({ values: 0, hits: new Map<DetectorKind, number>() }));
  const list = columns.map(({ name }) => `left(${quoteName(name)}::text, ${valueCharactersMax})`).join(', ');
  await connection.each(`select ${list} from ${quoteName(relation.schema)}.${quoteName(relation.name)} limit ${rowsMax}`, (row) => {
    for (const [index, value] of row.entries()) {
      const count = counts[index];
      if (value === null || count === undefined) continue;
      count.values++;
      const kinds = numbers.has(columns[index]?.baseType ?? '') ? (['card'] as const) : detectorKinds;
      for (const kind of new Set(detect(value, kinds).map((span) => span.kind))) count.hits.set(kind, (count.hits.get(kind) ?? 0) + 1);
    }
  });
  return columns.flatMap(({ name }, index) => {
    const { values, hits } = counts[index] ?? { values: 0, hits: new Map<DetectorKind, number>() };
    return [...hits].map(([detector, found]): Sample => ({ schema: relation.schema, relation: relation.name, column: name, detector, hits: found, values }));
  });
}
