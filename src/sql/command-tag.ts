/** The command that a statement node stands for, in the words of PostgreSQL's command tags (CreateCommandTag). */

type Node = { readonly [field: string]: unknown };

/** Tags that the type of the node alone tells. */
const tags: Readonly<Record<string, string>> = {
  InsertStmt: 'INSERT', UpdateStmt: 'UPDATE', DeleteStmt: 'DELETE', MergeStmt: 'MERGE', TruncateStmt: 'TRUNCATE', LockStmt: 'LOCK TABLE',
  CopyStmt: 'COPY', DoStmt: 'DO', CallStmt: 'CALL', ExplainStmt: 'EXPLAIN', PrepareStmt: 'PREPARE', ExecuteStmt: 'EXECUTE',
  DeclareCursorStmt: 'DECLARE CURSOR', NotifyStmt: 'NOTIFY', ListenStmt: 'LISTEN', UnlistenStmt: 'UNLISTEN', LoadStmt: 'LOAD',
  ConstraintsSetStmt: 'SET CONSTRAINTS', VariableShowStmt: 'SHOW', CheckPointStmt: 'CHECKPOINT', ClusterStmt: 'CLUSTER',
  ReindexStmt: 'REINDEX', CreateStmt: 'CREATE TABLE', IndexStmt: 'CREATE INDEX', ViewStmt: 'CREATE VIEW', RuleStmt: 'CREATE RULE',
  CreateSchemaStmt: 'CREATE SCHEMA', CreateSeqStmt: 'CREATE SEQUENCE', AlterSeqStmt: 'ALTER SEQUENCE', CreateTrigStmt: 'CREATE TRIGGER',
  CreateDomainStmt: 'CREATE DOMAIN', AlterDomainStmt: 'ALTER DOMAIN', CreateEnumStmt: 'CREATE TYPE', CompositeTypeStmt: 'CREATE TYPE',
  CreateRangeStmt: 'CREATE TYPE', AlterEnumStmt: 'ALTER TYPE', AlterTypeStmt: 'ALTER TYPE', CreateCastStmt: 'CREATE CAST',
  CreateConversionStmt: 'CREATE CONVERSION', CreateOpClassStmt: 'CREATE OPERATOR CLASS', CreateOpFamilyStmt: 'CREATE OPERATOR FAMILY',
  AlterOpFamilyStmt: 'ALTER OPERATOR FAMILY', AlterOperatorStmt: 'ALTER OPERATOR', CreateStatsStmt: 'CREATE STATISTICS',
  AlterStatsStmt: 'ALTER STATISTICS', RefreshMatViewStmt: 'REFRESH MATERIALIZED VIEW', CreateTransformStmt: 'CREATE TRANSFORM',
  AlterCollationStmt: 'ALTER COLLATION', AlterTSConfigurationStmt: 'ALTER TEXT SEARCH CONFIGURATION',
  AlterTSDictionaryStmt: 'ALTER TEXT SEARCH DICTIONARY', CommentStmt: 'COMMENT', AlterDefaultPrivilegesStmt: 'ALTER DEFAULT PRIVILEGES',
  CreateRoleStmt: 'CREATE ROLE', AlterRoleStmt: 'ALTER ROLE', AlterRoleSetStmt: 'ALTER ROLE', DropRoleStmt: 'DROP ROLE',
  ReassignOwnedStmt: 'REASSIGN OWNED', DropOwnedStmt: 'DROP OWNED', AlterSystemStmt: 'ALTER SYSTEM', CreatedbStmt: 'CREATE DATABASE',
  DropdbStmt: 'DROP DATABASE', AlterDatabaseStmt: 'ALTER DATABASE', AlterDatabaseRefreshCollStmt: 'ALTER DATABASE',
  AlterDatabaseSetStmt: 'ALTER DATABASE', CreateTableSpaceStmt: 'CREATE TABLESPACE', DropTableSpaceStmt: 'DROP TABLESPACE',
  AlterTableSpaceOptionsStmt: 'ALTER TABLESPACE', CreateExtensionStmt: 'CREATE EXTENSION', AlterExtensionStmt: 'ALTER EXTENSION',
  AlterExtensionContentsStmt: 'ALTER EXTENSION', CreatePLangStmt: 'CREATE LANGUAGE', CreateEventTrigStmt: 'CREATE EVENT TRIGGER',
  AlterEventTrigStmt: 'ALTER EVENT TRIGGER', CreateFdwStmt: 'CREATE FOREIGN DATA WRAPPER', AlterFdwStmt: 'ALTER FOREIGN DATA WRAPPER',
  CreateForeignServerStmt: 'CREATE SERVER', AlterForeignServerStmt: 'ALTER SERVER', CreateForeignTableStmt: 'CREATE FOREIGN TABLE',
  ImportForeignSchemaStmt: 'IMPORT FOREIGN SCHEMA', CreateUserMappingStmt: 'CREATE USER MAPPING', AlterUserMappingStmt: 'ALTER USER MAPPING',
  DropUserMappingStmt: 'DROP USER MAPPING', CreatePublicationStmt: 'CREATE PUBLICATION', AlterPublicationStmt: 'ALTER PUBLICATION',
  CreateSubscriptionStmt: 'CREATE SUBSCRIPTION', AlterSubscriptionStmt: 'ALTER SUBSCRIPTION', DropSubscriptionStmt: 'DROP SUBSCRIPTION',
  SecLabelStmt: 'SECURITY LABEL', CreatePolicyStmt: 'CREATE POLICY', AlterPolicyStmt: 'ALTER POLICY', CreateAmStmt: 'CREATE ACCESS METHOD',
  ReplicaIdentityStmt: 'ALTER TABLE', ReturnStmt: 'RETURN',
};

const transactions: Readonly<Record<string, string>> = {
  TRANS_STMT_BEGIN: 'BEGIN', TRANS_STMT_START: 'START TRANSACTION', TRANS_STMT_COMMIT: 'COMMIT', TRANS_STMT_ROLLBACK: 'ROLLBACK',
  TRANS_STMT_SAVEPOINT: 'SAVEPOINT', TRANS_STMT_RELEASE: 'RELEASE', TRANS_STMT_ROLLBACK_TO: 'ROLLBACK',
  TRANS_STMT_PREPARE: 'PREPARE TRANSACTION', TRANS_STMT_COMMIT_PREPARED: 'COMMIT PREPARED', TRANS_STMT_ROLLBACK_PREPARED: 'ROLLBACK PREPARED',
};

/** Kinds of objects whose words are not those of their constant. */
const objects: Readonly<Record<string, string>> = {
  ATTRIBUTE: 'TYPE', COLUMN: 'TABLE', TABCONSTRAINT: 'TABLE', DOMCONSTRAINT: 'DOMAIN', FDW: 'FOREIGN DATA WRAPPER', FOREIGN_SERVER: 'SERVER',
  LARGEOBJECT: 'LARGE OBJECT', OPCLASS: 'OPERATOR CLASS', OPFAMILY: 'OPERATOR FAMILY', MATVIEW: 'MATERIALIZED VIEW',
  STATISTIC_EXT: 'STATISTICS', TSCONFIGURATION: 'TEXT SEARCH CONFIGURATION', TSDICTIONARY: 'TEXT SEARCH DICTIONARY',
  TSPARSER: 'TEXT SEARCH PARSER', TSTEMPLATE: 'TEXT SEARCH TEMPLATE',
};

/** Total: of a node that a newer grammar brought, its own name. `type` is a node that ends in Stmt. */
export function commandTag(type: string, node: Node): string {
  switch (type) {
    case 'SelectStmt':
      return node['intoClause'] === undefined ? 'SELECT' : 'SELECT INTO';
    case 'CreateTableAsStmt':
      if (node['is_select_into'] === true) return 'SELECT INTO';
      return node['objtype'] === 'OBJECT_MATVIEW' ? 'CREATE MATERIALIZED VIEW' : 'CREATE TABLE AS';
    case 'TransactionStmt':
      return transactions[String(node['kind'])] ?? 'TRANSACTION';
    case 'VariableSetStmt':
      return String(node['kind']).startsWith('VAR_RESET') ? 'RESET' : 'SET';
    case 'FetchStmt':
      return node['ismove'] === true ? 'MOVE' : 'FETCH';
    case 'ClosePortalStmt':
      return node['portalname'] === undefined ? 'CLOSE CURSOR ALL' : 'CLOSE CURSOR';
    case 'DeallocateStmt':
      return node['isall'] === true || node['name'] === undefined ? 'DEALLOCATE ALL' : 'DEALLOCATE';
    case 'DiscardStmt':
      return String(node['target'] ?? 'DISCARD_ALL').replace('_', ' ');
    case 'VacuumStmt':
      return node['is_vacuumcmd'] === true ? 'VACUUM' : 'ANALYZE';
    case 'GrantStmt':
      return node['is_grant'] === true ? 'GRANT' : 'REVOKE';
    case 'GrantRoleStmt':
      return node['is_grant'] === true ? 'GRANT ROLE' : 'REVOKE ROLE';
    case 'CreateFunctionStmt':
      return node['is_procedure'] === true ? 'CREATE PROCEDURE' : 'CREATE FUNCTION';
    case 'DefineStmt':
      return `CREATE ${words(node['kind'])}`;
    case 'DropStmt':
      return `DROP ${words(node['removeType'])}`;
    case 'AlterTableStmt':
    case 'AlterFunctionStmt':
    case 'AlterTableMoveAllStmt':
      return `ALTER ${words(node['objtype'])}`;
    case 'RenameStmt':
      return `ALTER ${words(node[node['renameType'] === 'OBJECT_COLUMN' || node['renameType'] === 'OBJECT_ATTRIBUTE' ? 'relationType' : 'renameType'])}`;
    case 'AlterObjectSchemaStmt':
    case 'AlterObjectDependsStmt':
    case 'AlterOwnerStmt':
      return `ALTER ${words(node['objectType'])}`;
    default:
      return tags[type] ?? type.replace(/Stmt$/, '').replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ').toUpperCase();
  }
}

function words(object: unknown): string {
  const name = String(object ?? 'OBJECT').replace(/^OBJECT_/, '');
  return objects[name] ?? name.replaceAll('_', ' ');
}
