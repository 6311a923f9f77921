/** What stands in the way of masking a database surely: findings, the level with its reasons, and SQL that would raise it. Pure. */
import type { Catalog } from '../sql/catalog.ts';
import type { ColumnDetails, RelationDetails } from '../sql/catalog-details.ts';
import { quoteName } from '../sql/names.ts';
import { hashKeySettings } from './expressions.ts';
import { rawColumnKey, type DetectorKind, type MaskLevel, type MaskPlan, type PlannedRelation } from './plan.ts';

/** What the database says of the relay's own role, beyond the catalog. Names are "schema.name" where they have a schema. */
export type RoleFacts = {
  readonly canCreateRoles: boolean;
  readonly canReplicate: boolean;
  readonly bypassesRowSecurity: boolean;
  /** Predefined roles that it is a member of. */
  readonly memberships: readonly string[];
  readonly canCreateTemporary: boolean;
  readonly creatableSchemas: readonly string[];
  readonly foreignServers: readonly string[];
  /** SECURITY DEFINER functions of users, and functions of extensions that run SQL given as text or read pages, that it may execute. */
  readonly definerFunctions: readonly string[];
  readonly textFunctions: readonly string[];
  readonly usesTls: boolean;
  readonly passwordEncryption: string;
};

/** How many of the values that were looked at hold what a detector finds; the values themselves are not kept. */
export type Sample = { readonly schema: string; readonly relation: string; readonly column: string; readonly detector: DetectorKind; readonly hits: number; readonly values: number };

export type DoctorFinding = { readonly severity: 'problem' | 'advice'; readonly what: string; readonly fix: string };

export type Examination = {
  readonly level: MaskLevel;
  /** Why it is no better one. */
  readonly reasons: readonly string[];
  readonly findings: readonly DoctorFinding[];
  /** To be read, adapted and run by whoever keeps the database; gate never runs it. */
  readonly sql: string;
};

export type Examined = {
  readonly catalog: Catalog;
  readonly plan: MaskPlan;
  readonly problems: readonly string[];
  readonly role: RoleFacts;
  readonly samples: readonly Sample[];
};

const namesMax = 10;

export function examineTarget(examined: Examined): Examination {
  const masked = maskedRelations(examined);
  const reasons = reasonsOf(examined, masked);
  const findings = [...reasons.map((what): DoctorFinding => ({ severity: 'advice', what, fix: 'gate doctor <target> --sql prints what would change it.' })), ...roleFindings(examined.role), ...maskFindings(examined)];
  return { level: examined.plan.level, reasons, findings, sql: airtightSql(examined, masked) };
}

type MaskedRelation = {
  readonly planned: Extract<PlannedRelation, { access: 'masked' }>;
  readonly details: RelationDetails;
  readonly raw: readonly ColumnDetails[];
};

function maskedRelations({ catalog, plan }: Examined): readonly MaskedRelation[] {
  return (catalog.data.details?.relations ?? []).flatMap((details): MaskedRelation[] => {
    const planned = plan.relation(details.id);
    if (planned?.access !== 'masked') return [];
    return [{ planned, details, raw: details.columns.filter(({ number }) => plan.rawColumns.has(rawColumnKey(details.id, number))) }];
  });
}

/** Why the database itself does not hold the raw values back. */
function reasonsOf({ catalog, plan }: Examined, masked: readonly MaskedRelation[]): string[] {
  if (plan.level === 'display') return ['the policy asks for the level display: only what comes straight from a column is masked'];
  const role = catalog.data.details?.role;
  const readable = masked.flatMap(({ planned, raw }) => raw.filter(({ isUnreadable }) => isUnreadable !== true).map(({ name }) => `${nameOf(planned)}.${name}`));
  const owned = masked.filter(({ details }) => details.isOwned === true).map(({ planned }) => nameOf(planned));
  return [
    ...(role?.isSuperuser === true ? [`the database role ${role.name} of the relay is a superuser`] : []),
    ...(role?.readsAllData === true && !role.isSuperuser ? [`the database role ${role.name} reads all data (pg_read_all_data)`] : []),
    ...(readable.length > 0 ? [`the role may SELECT columns with masks: ${list(readable)}`] : []),
    ...(owned.length > 0 ? [`the role owns tables with masks: ${list(owned)}`] : []),
  ];
}

function roleFindings(role: RoleFacts): DoctorFinding[] {
  const findings: DoctorFinding[] = [];
  const add = (isSo: boolean, what: string, fix: string) => isSo && findings.push({ severity: 'advice', what, fix });
  add(role.canCreateRoles, 'the role may make other roles (CREATEROLE)', 'ALTER ROLE … NOCREATEROLE');
  add(role.canReplicate, 'the role may replicate, which shows whole rows (REPLICATION)', 'ALTER ROLE … NOREPLICATION');
  add(role.bypassesRowSecurity, 'row security does not apply to the role (BYPASSRLS)', 'ALTER ROLE … NOBYPASSRLS');
  add(role.memberships.length > 0, `the role is a member of ${list(role.memberships)}`, 'REVOKE these roles from it.');
  add(role.canCreateTemporary, 'the role may make temporary tables, which are found before others', 'REVOKE TEMPORARY ON DATABASE … FROM PUBLIC');
  add(role.creatableSchemas.length > 0, `the role may CREATE in ${list(role.creatableSchemas)}`, 'REVOKE CREATE ON SCHEMA … FROM PUBLIC');
  add(role.foreignServers.length > 0, `the role may use the foreign servers ${list(role.foreignServers)}`, 'REVOKE USAGE ON FOREIGN SERVER …');
  add(role.definerFunctions.length > 0, `the role may execute functions that run as their owner: ${list(role.definerFunctions)}`, 'Look at each, and REVOKE EXECUTE … FROM PUBLIC.');
  add(role.textFunctions.length > 0, `the role may execute functions that run SQL given as text, or read files and pages: ${list(role.textFunctions)}`, 'REVOKE EXECUTE … FROM PUBLIC');
  add(!role.usesTls, 'the relay reaches the database without TLS', 'Set tls of the target in relay.yaml.');
  add(role.passwordEncryption === 'md5', 'the server keeps passwords as md5', "Set password_encryption = 'scram-sha-256' and set the passwords anew.");
  return findings;
}

function maskFindings({ plan, problems, samples }: Examined): DoctorFinding[] {
  return [
    ...(plan.problem === undefined ? [] : [{ severity: 'problem' as const, what: plan.problem.reason, fix: plan.problem.hint }]),
    ...problems.map((what): DoctorFinding => ({ severity: 'problem', what, fix: 'See the masks of the policy.' })),
    ...samples.map(({ schema, relation, column, detector, hits, values }): DoctorFinding => ({
      severity: 'problem',
      what: `undeclared sensitive column ${schema}.${relation}.${column}: ${hits} of ${values} values look like ${detector}`,
      fix: 'Name it in a rule of masks.',
    })),
  ];
}

function nameOf({ schema, name }: { readonly schema: string; readonly name: string }): string {
  return `${schema}.${name}`;
}

function list(names: readonly string[]): string {
  const more = names.length - namesMax;
  return names.slice(0, namesMax).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

const viewsSchema = 'gate_masked';

/** Column privileges in place of those of tables, and views with the masks for whoever reaches the database by other ways. */
function airtightSql({ catalog, plan }: Examined, masked: readonly MaskedRelation[]): string {
  const role = catalog.data.details?.role;
  if (role === undefined || masked.length === 0 || plan.level === 'airtight') return '';
  const grantee = role.isSuperuser || role.readsAllData ? 'gate_restricted' : role.name;
  const fresh = grantee === role.name ? [] : [
    `-- ${oneLine(role.name)} can read everything: give the relay a role of its own, and grant it what else it needs.`,
    `CREATE ROLE ${quoteName(grantee)} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;`,
    '-- \\password gate_restricted',
  ];
  const schemas = [...new Set(masked.map(({ planned }) => planned.schema))];
  return [
    '-- Read this, adapt it, and run it as the owner of the tables. gate never runs it.',
    'BEGIN;',
    ...fresh,
    ...schemas.map((schema) => `GRANT USAGE ON SCHEMA ${quoteName(schema)} TO ${quoteName(grantee)};`),
    `CREATE SCHEMA IF NOT EXISTS ${quoteName(viewsSchema)};`,
    `GRANT USAGE ON SCHEMA ${quoteName(viewsSchema)} TO ${quoteName(grantee)};`,
    ...masked.flatMap((one) => relationSql(one, grantee)),
    'COMMIT;',
    `-- Then declare the views in the policy: { name: masked-views, columns: ["${viewsSchema}.<view>.*"], mask: clear }`,
    '',
  ].join('\n');
}

function relationSql({ planned, details, raw }: MaskedRelation, grantee: string): string[] {
  const table = `${quoteName(planned.schema)}.${quoteName(planned.name)}`;
  const view = `${quoteName(viewsSchema)}.${quoteName(`${planned.schema}_${planned.name}`)}`;
  const clean = details.columns.filter((column) => !raw.includes(column)).map(({ name }) => quoteName(name));
  const shown = planned.columns.map(({ name, sql }) => (sql === undefined ? quoteName(name) : `${sql} AS ${quoteName(name)}`));
  return [
    '',
    ...(shown.some((sql) => sql.includes(hashKeySettings.inner)) ? ['-- Hashes need the key of the relay, so this view can be read through gate only.'] : []),
    ...(details.isOwned === true ? [`-- The relay's role owns it, which no REVOKE limits: ALTER TABLE ${table} OWNER TO …;`] : []),
    `REVOKE ALL ON ${table} FROM PUBLIC, ${quoteName(grantee)};`,
    ...(clean.length > 0 ? [`GRANT SELECT (${clean.join(', ')}) ON ${table} TO ${quoteName(grantee)};`] : []),
    `CREATE VIEW ${view} WITH (security_barrier) AS\n  SELECT ${shown.join(',\n    ')}\n  FROM ${table};`,
    `GRANT SELECT ON ${view} TO ${quoteName(grantee)};`,
  ];
}

/** Nothing of a name may leave its comment. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\f\v\u0085\u2028\u2029]/g, ' ');
}
