/** Which kind each statement node of PostgreSQL's grammar has. What is not listed here is `unknown`. */
import type { StatementKind } from './kind.ts';
import { isActingSetting, liftsReadOnly } from './settings.ts';

type Node = { readonly [field: string]: unknown };

const read = `SelectStmt TransactionStmt VariableSetStmt VariableShowStmt ExplainStmt PrepareStmt ExecuteStmt
  DeallocateStmt DeclareCursorStmt FetchStmt ClosePortalStmt DiscardStmt ListenStmt UnlistenStmt ConstraintsSetStmt`;

const write = `InsertStmt UpdateStmt DeleteStmt MergeStmt TruncateStmt LockStmt NotifyStmt`;

const schema = `CreateStmt CreateTableAsStmt AlterTableStmt AlterTableMoveAllStmt IndexStmt ViewStmt RuleStmt RenameStmt
  DropStmt CommentStmt CreateSeqStmt AlterSeqStmt CreateSchemaStmt CreateFunctionStmt AlterFunctionStmt CreateTrigStmt
  CreateDomainStmt AlterDomainStmt CompositeTypeStmt CreateEnumStmt AlterEnumStmt CreateRangeStmt AlterTypeStmt
  DefineStmt CreateCastStmt CreateConversionStmt CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt
  AlterOperatorStmt AlterObjectSchemaStmt AlterObjectDependsStmt CreateStatsStmt AlterStatsStmt RefreshMatViewStmt
  CreateTransformStmt AlterCollationStmt AlterTSConfigurationStmt AlterTSDictionaryStmt CreatePolicyStmt AlterPolicyStmt
  CreateAmStmt ReplicaIdentityStmt`;

const admin = `GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt CreateRoleStmt AlterRoleStmt AlterRoleSetStmt
  DropRoleStmt AlterOwnerStmt ReassignOwnedStmt DropOwnedStmt AlterSystemStmt CreatedbStmt DropdbStmt AlterDatabaseStmt
  AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt CreateTableSpaceStmt DropTableSpaceStmt
  AlterTableSpaceOptionsStmt VacuumStmt ClusterStmt ReindexStmt CheckPointStmt LoadStmt CreateExtensionStmt
  AlterExtensionStmt AlterExtensionContentsStmt CreatePLangStmt CreateEventTrigStmt AlterEventTrigStmt CreateFdwStmt
  AlterFdwStmt CreateForeignServerStmt AlterForeignServerStmt CreateForeignTableStmt ImportForeignSchemaStmt
  CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt CreatePublicationStmt AlterPublicationStmt
  CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt SecLabelStmt`;

const kinds = new Map<string, StatementKind>(
  Object.entries({ read, write, schema, admin }).flatMap(([kind, names]) =>
    names.split(/\s+/).map((name): [string, StatementKind] => [name, kind as StatementKind]),
  ),
);

/** Objects whose removal touches more than one database's definitions. */
const adminObjects = new Set([
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

/** The kind of one statement node by itself; what is nested in it is judged by its own nodes. */
export function kindOfNode(type: string, node: Node): StatementKind {
  switch (type) {
    case 'CopyStmt':
      return kindOfCopy(node);
    case 'TransactionStmt':
      return kindOfTransaction(node);
    case 'VariableSetStmt':
      return kindOfSet(node);
    case 'DropStmt':
      return adminObjects.has(String(node['removeType'])) ? 'admin' : 'schema';
    case 'RenameStmt':
      return adminObjects.has(String(node['renameType'])) ? 'admin' : 'schema';
    default:
      return kinds.get(type) ?? 'unknown';
  }
}

/** COPY with a file or a program reaches the server's own disk and shell. */
function kindOfCopy(node: Node): StatementKind {
  if (node['filename'] !== undefined || node['is_program'] === true) return 'admin';
  return node['is_from'] === true ? 'write' : 'read';
}

/** Two-phase commands outlive the session and act on others' transactions. */
function kindOfTransaction(node: Node): StatementKind {
  if (/_PREPARED?$/.test(String(node['kind']))) return 'admin';
  return setsReadWrite(node['options']) ? 'write' : 'read';
}

function kindOfSet(node: Node): StatementKind {
  const name = String(node['name'] ?? '');
  if (isActingSetting(name) && node['kind'] === 'VAR_SET_VALUE') return 'admin';
  if (liftsReadOnly(name) || setsReadWrite(node['args'])) return 'write';
  return 'read';
}

/** READ WRITE is transaction_read_only with the constant 0, whose ival field is left out; READ ONLY has 1. */
function setsReadWrite(options: unknown): boolean {
  return ((options ?? []) as { DefElem?: Node }[]).some(({ DefElem }) => {
    if (DefElem?.['defname'] !== 'transaction_read_only') return false;
    const constant = (DefElem['arg'] as Node | undefined)?.['A_Const'] as { ival?: { ival?: number } } | undefined;
    return constant?.ival?.ival !== 1;
  });
}
