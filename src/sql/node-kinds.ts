/** Which kind each statement node of PostgreSQL's grammar has. What is not listed here is `unknown`. */
import type { StatementKind } from './kind.ts';
import { constantText } from './constant.ts';
import { settingKind } from './settings.ts';

type Node = { readonly [field: string]: unknown };

const read = `SelectStmt TransactionStmt VariableSetStmt VariableShowStmt ExplainStmt PrepareStmt ExecuteStmt
  DeallocateStmt DeclareCursorStmt FetchStmt ClosePortalStmt DiscardStmt ListenStmt UnlistenStmt ConstraintsSetStmt
  ReturnStmt`;

const write = `InsertStmt UpdateStmt DeleteStmt MergeStmt TruncateStmt LockStmt NotifyStmt`;

const schema = `CreateStmt CreateTableAsStmt AlterTableStmt AlterTableMoveAllStmt IndexStmt ViewStmt RuleStmt RenameStmt
  DropStmt CommentStmt CreateSeqStmt AlterSeqStmt CreateSchemaStmt CreateFunctionStmt AlterFunctionStmt CreateTrigStmt
  CreateDomainStmt AlterDomainStmt CompositeTypeStmt CreateEnumStmt AlterEnumStmt CreateRangeStmt AlterTypeStmt
  DefineStmt CreateCastStmt CreateConversionStmt CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt
  AlterOperatorStmt AlterObjectSchemaStmt AlterObjectDependsStmt CreateStatsStmt AlterStatsStmt RefreshMatViewStmt
  CreateTransformStmt AlterCollationStmt AlterTSConfigurationStmt AlterTSDictionaryStmt ReplicaIdentityStmt`;

const admin = `GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt CreateRoleStmt AlterRoleStmt AlterRoleSetStmt
  DropRoleStmt AlterOwnerStmt ReassignOwnedStmt DropOwnedStmt AlterSystemStmt CreatedbStmt DropdbStmt AlterDatabaseStmt
  AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt CreateTableSpaceStmt DropTableSpaceStmt
  AlterTableSpaceOptionsStmt VacuumStmt ClusterStmt ReindexStmt CheckPointStmt LoadStmt CreateExtensionStmt
  AlterExtensionStmt AlterExtensionContentsStmt CreatePLangStmt CreateEventTrigStmt AlterEventTrigStmt CreateFdwStmt
  AlterFdwStmt CreateForeignServerStmt AlterForeignServerStmt CreateForeignTableStmt ImportForeignSchemaStmt
  CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt CreatePublicationStmt AlterPublicationStmt
  CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt SecLabelStmt CreatePolicyStmt
  AlterPolicyStmt CreateAmStmt`;

const kinds = new Map<string, StatementKind>(
  Object.entries({ read, write, schema, admin }).flatMap(([kind, names]) =>
    names.split(/\s+/).map((name): [string, StatementKind] => [name, kind as StatementKind]),
  ),
);

/** DO and CALL run code that the text does not show; the others do not come out of the parser by themselves. */
export const deliberatelyUnknown = ['DoStmt', 'CallStmt', 'RawStmt', 'SetOperationStmt', 'PLAssignStmt'] as const;

/** Every statement node that has a kind. */
export const knownNodes: ReadonlySet<string> = new Set(kinds.keys());

/** Objects that are privileges, or whose change touches more than one database's definitions. */
const adminObjects = new Set([
  'OBJECT_ACCESS_METHOD',
  'OBJECT_POLICY',
  'OBJECT_FDW',
  'OBJECT_FOREIGN_SERVER',
  'OBJECT_USER_MAPPING',
  'OBJECT_PUBLICATION',
  'OBJECT_SUBSCRIPTION',
  'OBJECT_EXTENSION',
  'OBJECT_EVENT_TRIGGER',
  'OBJECT_LANGUAGE',
  'OBJECT_ROLE',
  'OBJECT_DATABASE',
  'OBJECT_TABLESPACE',
]);

/** Languages whose functions stay inside the database; C, internal and the untrusted ones reach the whole server. */
const trustedLanguages = new Set(['sql', 'plpgsql', 'pltcl', 'plperl', 'plv8']);

/** Parts of ALTER TABLE that change who may see or do what. */
const privilegeCommands = /^AT_(?:ChangeOwner|(?:Enable|Disable|Force|NoForce)RowSecurity)$/;

/** The kind of one statement node by itself; what is nested in it is judged by its own nodes. */
export function kindOfNode(type: string, node: Node): StatementKind {
  switch (type) {
    case 'InsertStmt':
    case 'UpdateStmt':
    case 'DeleteStmt':
    case 'MergeStmt':
      return isCatalog(node['relation']) ? 'admin' : 'write';
    case 'TruncateStmt':
      return nodesOf(node['relations'], 'RangeVar').some(isCatalog) ? 'admin' : 'write';
    case 'CopyStmt':
      return kindOfCopy(node);
    case 'LockStmt':
      // ACCESS SHARE is what SELECT takes anyway; pg_dump asks for it by name.
      return node['mode'] === 1 ? 'read' : 'write';
    case 'TransactionStmt':
      return kindOfTransaction(node);
    case 'VariableSetStmt':
      return kindOfSet(node);
    case 'DropStmt':
      return adminObjects.has(String(node['removeType'])) ? 'admin' : 'schema';
    case 'RenameStmt':
      return adminObjects.has(String(node['renameType'])) ? 'admin' : 'schema';
    case 'AlterObjectSchemaStmt':
      return adminObjects.has(String(node['objectType'])) ? 'admin' : 'schema';
    case 'AlterTableStmt':
      return nodesOf(node['cmds'], 'AlterTableCmd').some((command) => privilegeCommands.test(String(command['subtype'])))
        ? 'admin'
        : 'schema';
    case 'CreateFunctionStmt':
      return kindOfFunction(node);
    default:
      return kinds.get(type) ?? 'unknown';
  }
}

/** Relations whose rows are definitions, privileges or settings: an UPDATE of pg_settings is a SET. */
function isCatalog(relation: unknown): boolean {
  const { schemaname, relname } = (relation ?? {}) as { schemaname?: string; relname?: string };
  if (schemaname === 'information_schema') return true;
  return relname?.startsWith('pg_') === true || (schemaname?.startsWith('pg_') === true && schemaname !== 'pg_temp');
}

/** COPY with a file or a program reaches the server's own disk and shell. */
function kindOfCopy(node: Node): StatementKind {
  if (node['filename'] !== undefined || node['is_program'] === true) return 'admin';
  if (node['is_from'] !== true) return 'read';
  return isCatalog(node['relation']) ? 'admin' : 'write';
}

/** Two-phase commands outlive the session and act on others' transactions. */
function kindOfTransaction(node: Node): StatementKind {
  if (/_PREPARED?$/.test(String(node['kind']))) return 'admin';
  return setsReadWrite(node['options']) ? 'write' : 'read';
}

/** RESET and SET … TO DEFAULT return to what the relay set at login, except for transaction_read_only. */
function kindOfSet(node: Node): StatementKind {
  if (setsReadWrite(node['args'])) return 'write';
  const args = (node['args'] ?? []) as readonly unknown[];
  const kind = settingKind(String(node['name'] ?? ''), args.length === 1 ? constantText(args[0]) : undefined);
  if (kind === 'admin' && node['kind'] !== 'VAR_SET_VALUE') return 'read';
  return kind ?? 'read';
}

function kindOfFunction(node: Node): StatementKind {
  const language = nodesOf(node['options'], 'DefElem').find((option) => option['defname'] === 'language');
  const name = (language?.['arg'] as { String?: { sval?: string } } | undefined)?.String?.sval ?? 'sql';
  return trustedLanguages.has(name.toLowerCase()) ? 'schema' : 'admin';
}

/** READ WRITE is transaction_read_only with the constant 0, whose ival field is left out; READ ONLY has 1. */
function setsReadWrite(options: unknown): boolean {
  return nodesOf(options, 'DefElem').some((option) => {
    if (option['defname'] !== 'transaction_read_only') return false;
    const constant = (option['arg'] as Node | undefined)?.['A_Const'] as { ival?: { ival?: number } } | undefined;
    return constant?.ival?.ival !== 1;
  });
}

function nodesOf(list: unknown, type: string): Node[] {
  return ((list ?? []) as Node[]).flatMap((item) => (item[type] === undefined ? [] : [item[type] as Node]));
}
