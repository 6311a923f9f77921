/** What each kind of statement node does to relations, settings, roles and transactions. */
import { rowsOfInsert, rowsOfMerge, rowsOfWhere, typeText } from './bounds.ts';
import { commandTag } from './command-tag.ts';
import { constantText } from './constant.ts';
import type { Change } from './outline.ts';
import { objectName, stringsOf, type Node, type Notes } from './outline-notes.ts';
import { changesOfSet } from './setting-changes.ts';
import { truncateName } from './names.ts';

/** Notes one node, and answers which of its fields it has dealt with. Nodes without a row here are walked as they are. */
export function noteStatement(type: string, node: Node, notes: Notes): readonly string[] {
  if (/^[A-Z]\w*Stmt$/.test(type) && type !== 'RawStmt' && !isValues(type, node)) notes.command(commandTag(type, node));
  const done = noteRows(type, node, notes) ?? noteDefinition(type, node, notes) ?? noteObjects(type, node, notes);
  if (done !== undefined) return done;
  noteSession(type, node, notes);
  return [];
}

/** VALUES is no statement of its own inside another one; at the top it is a SELECT. */
function isValues(type: string, node: Node): boolean {
  return type === 'SelectStmt' && node['valuesLists'] !== undefined;
}

/** Statements that change rows or lock them. */
function noteRows(type: string, node: Node, notes: Notes): readonly string[] | undefined {
  const relation = node['relation'] as Node | undefined;
  switch (type) {
    case 'InsertStmt':
      noteInsert(node, relation as Node, notes);
      return ['relation'];
    case 'UpdateStmt':
    case 'DeleteStmt': {
      const isUpdate = type === 'UpdateStmt';
      const rows = rowsOfWhere(node, notes.parameters);
      const columns = isUpdate && assigned(node['targetList']);
      notes.change(relation as Node, { action: isUpdate ? 'update' : 'delete', ...(columns && { columns }), ...(rows && { rows }) });
      if (isUpdate || node['whereClause'] !== undefined || returns(node)) notes.read(relation as Node);
      return ['relation'];
    }
    case 'MergeStmt':
      noteMerge(node, relation as Node, notes);
      return ['relation'];
    case 'TruncateStmt':
      for (const target of relationsIn(node['relations'])) {
        notes.change(target, { action: 'truncate', ...(node['behavior'] === 'DROP_CASCADE' && { isCascade: true }) });
      }
      return ['relations'];
    case 'CopyStmt':
      if (node['is_program'] === true) notes.runsCode = true;
      if (relation === undefined) return [];
      if (node['is_from'] === true) notes.change(relation, { action: 'insert' });
      // COPY reads the rows of this relation only, not of its children.
      else notes.read(relation, true);
      return ['relation'];
    case 'LockStmt':
      notes.isLocking = true;
      return [];
    case 'SelectStmt':
      if (node['lockingClause'] !== undefined) noteRowLocks(node, notes);
      return undefined;
    case '.lockingClause':
    case 'LockingClause':
      notes.isLocking = true;
      return ['lockedRels'];
    default:
      return undefined;
  }
}

/** The rows of one relation can be bound by its keys; those of a join, or of a query in FROM, are not looked into. */
function noteRowLocks(select: Node, notes: Notes): void {
  const from = (select['fromClause'] ?? []) as Node[];
  const relation = from[0]?.['RangeVar'] as Node | undefined;
  if (from.length === 1 && relation !== undefined) notes.lock(relation, rowsOfWhere({ relation, whereClause: select['whereClause'] }, notes.parameters));
  else if (from.length > 0) notes.isUnbounded = true;
}

function noteInsert(node: Node, relation: Node, notes: Notes): void {
  const rows = rowsOfInsert(node);
  notes.change(relation, { action: 'insert', ...(rows && { rows }) });
  const conflict = node['onConflictClause'] as Node | undefined;
  if (conflict?.['action'] === 'ONCONFLICT_UPDATE') {
    const columns = assigned(conflict['targetList']);
    // A row that is offered is either inserted or updates one: it counts once.
    notes.change(relation, { action: 'update', ...(columns && { columns }), ...(rows && { rows: { most: 0 } }) });
  }
  if (conflict !== undefined || returns(node)) notes.read(relation);
}

function noteMerge(node: Node, relation: Node, notes: Notes): void {
  const clauses = ((node['mergeWhenClauses'] ?? []) as Node[]).map((clause) => clause['MergeWhenClause'] as Node);
  const actions = { CMD_INSERT: 'insert', CMD_UPDATE: 'update', CMD_DELETE: 'delete' } as const;
  const rows = rowsOfMerge(node, notes.parameters);
  let counted: Partial<Change> = rows ? { rows } : {};
  for (const [command, action] of Object.entries(actions)) {
    const own = clauses.filter((clause) => clause['commandType'] === command);
    if (own.length === 0) continue;
    const columns = action === 'update' ? assigned(own.flatMap((clause) => clause['targetList'] ?? [])) : undefined;
    notes.change(relation, { action, ...(columns && { columns }), ...counted });
    if (rows) counted = { rows: { most: 0 } };
  }
  notes.read(relation);
}

function assigned(targets: unknown): readonly string[] | undefined {
  const names = ((targets ?? []) as Node[]).map((target) => (target['ResTarget'] as Node | undefined)?.['name']);
  return names.every((name) => typeof name === 'string') ? names : undefined;
}

/** The list of RETURNING moved into a clause of its own in PostgreSQL 18. */
function returns(node: Node): boolean {
  return node['returningList'] !== undefined || node['returningClause'] !== undefined;
}

/** Statements whose relations are not simply fields: the new, the renamed, the parents. */
function noteDefinition(type: string, node: Node, notes: Notes): readonly string[] | undefined {
  switch (type) {
    case 'CreateStmt':
      notes.define(node['relation'] as Node, { isNew: true });
      for (const parent of relationsIn(node['inhRelations'])) notes.define(parent);
      return ['relation', 'inhRelations'];
    case 'ViewStmt':
      notes.define(node['view'] as Node, { isNew: true });
      return ['view'];
    case 'CreateSeqStmt':
      notes.define(node['sequence'] as Node, { isNew: true });
      return ['sequence'];
    case 'CompositeTypeStmt':
      return ['typevar'];
    case 'TableLikeClause':
      notes.read(node['relation'] as Node);
      return ['relation'];
    case 'AlterTableCmd':
      // What it takes with it deserves a name of its own.
      if (node['subtype'] === 'AT_DropColumn') notes.command('DROP COLUMN');
      for (const parent of relationsIn([node['def'] ?? {}])) notes.define(parent);
      return relationsIn([node['def'] ?? {}]).length > 0 ? ['def'] : [];
    case 'RefreshMatViewStmt':
      notes.read(node['relation'] as Node);
      return [];
    case 'ImportForeignSchemaStmt':
      notes.defineNamed({ schema: String(node['local_schema']), name: '*' }, { isNew: true });
      return ['table_list'];
    case 'VacuumStmt':
      if (node['rels'] === undefined) notes.defineNamed({ name: '*' });
      return [];
    case 'ReindexStmt':
      if (node['relation'] !== undefined) return [];
      notes.defineNamed({ ...(node['kind'] === 'REINDEX_OBJECT_SCHEMA' && { schema: String(node['name']) }), name: '*' });
      return [];
    case 'ClusterStmt':
      if (node['relation'] === undefined) notes.defineNamed({ name: '*' });
      return [];
    case 'DropOwnedStmt':
    case 'ReassignOwnedStmt':
    case 'AlterTableMoveAllStmt':
      notes.defineNamed({ name: '*' });
      return [];
    default:
      return undefined;
  }
}

/** Objects that stand as lists of names: of DROP, COMMENT, GRANT, ALTER … OWNER and the like. */
function noteObjects(type: string, node: Node, notes: Notes): readonly string[] | undefined {
  switch (type) {
    case 'DropStmt':
      for (const object of (node['objects'] ?? []) as Node[]) {
        noteObject(String(node['removeType']), object, notes, node['behavior'] === 'DROP_CASCADE');
      }
      return ['objects'];
    case 'CommentStmt':
    case 'SecLabelStmt':
      noteObject(String(node['objtype']), (node['object'] ?? {}) as Node, notes, false);
      return ['object'];
    case 'AlterOwnerStmt':
      noteObject(String(node['objectType']), (node['object'] ?? {}) as Node, notes, false);
      return ['object'];
    case 'RenameStmt':
      if (node['renameType'] === 'OBJECT_SCHEMA') notes.defineNamed({ schema: String(node['subname']), name: '*' });
      if (node['renameType'] === 'OBJECT_ROLE') notes.changesRole = true;
      return ['object'];
    case 'GrantStmt':
      noteGrant(node, notes);
      return ['objects'];
    case 'ConstraintsSetStmt':
      return ['constraints'];
    case 'DefElem': {
      // CREATE FUNCTION … SET: for the time of its calls, not for the session.
      const set = (node['arg'] as Node | undefined)?.['VariableSetStmt'] as Node | undefined;
      for (const change of set === undefined ? [] : changesOfSet(set)) notes.setting(change, false);
      return set === undefined ? [] : ['arg'];
    }
    default:
      return undefined;
  }
}

const relationObject = /^OBJECT_(?:TABLE|VIEW|MATVIEW|INDEX|SEQUENCE|FOREIGN_TABLE)$/;
/** Their names stand behind that of their relation. */
const relationPart = /^OBJECT_(?:COLUMN|TRIGGER|RULE|POLICY|TABCONSTRAINT)$/;

function noteObject(objectType: string, object: Node, notes: Notes, isCascade: boolean): void {
  const more: Partial<Change> = isCascade ? { isCascade } : {};
  const names = stringsOf(object);
  if (relationObject.test(objectType)) notes.defineNamed(nameOf(names), more);
  else if (relationPart.test(objectType)) notes.defineNamed(nameOf(names.slice(0, -1)));
  else if (objectType === 'OBJECT_SCHEMA') notes.defineNamed({ schema: schemaOf(object), name: '*' }, more);
  // What else is dropped with CASCADE may take columns and whole views with it.
  else if (isCascade) notes.defineNamed({ name: '*' });
}

function noteGrant(node: Node, notes: Notes): void {
  if (node['targtype'] === 'ACL_TARGET_ALL_IN_SCHEMA') {
    if (!/^OBJECT_(?:TABLE|SEQUENCE)$/.test(String(node['objtype']))) return;
    for (const schema of stringsOf(node['objects'])) notes.defineNamed({ schema, name: '*' });
  } else for (const relation of relationsIn(node['objects'])) notes.define(relation);
}

function nameOf(names: readonly string[]): { schema?: string; name: string } {
  return objectName(names.map((sval) => ({ String: { sval } })));
}

function schemaOf(object: Node): string {
  return String((object['String'] as Node | undefined)?.['sval'] ?? stringsOf(object).at(-1) ?? '');
}

function relationsIn(list: unknown): Node[] {
  return ((list ?? []) as Node[]).flatMap((item) => (item['RangeVar'] === undefined ? [] : [item['RangeVar'] as Node]));
}

/** Statements about the session, roles, transactions, and code that the text does not show. */
function noteSession(type: string, node: Node, notes: Notes): void {
  switch (type) {
    case 'VariableSetStmt':
      for (const change of changesOfSet(node)) notes.setting(change, true);
      break;
    case '.setstmt':
      for (const change of changesOfSet(node)) notes.setting(change, false);
      break;
    case 'DiscardStmt':
      if ((node['target'] ?? 'DISCARD_ALL') === 'DISCARD_ALL') notes.setting({ name: 'all', isReset: true, isLocal: false }, true);
      break;
    case 'TransactionStmt':
      noteTransaction(node, notes);
      break;
    case 'CreateRoleStmt':
    case 'AlterRoleStmt':
    case 'AlterRoleSetStmt':
    case 'DropRoleStmt':
    case 'GrantRoleStmt':
      notes.changesRole = true;
      break;
    case 'DoStmt':
    case 'CallStmt':
      notes.runsCode = true;
      notes.isUnbounded = true;
      break;
    case 'LoadStmt':
    case 'CreateExtensionStmt':
    case 'AlterExtensionStmt':
      notes.runsCode = true;
      break;
    case 'ExecuteStmt':
      notes.execute(truncateName(String(node['name'])));
      break;
    case 'FetchStmt':
      notes.fetch(String(node['portalname']));
      break;
    case 'PrepareStmt':
      notes.parameterTypes = ((node['argtypes'] ?? []) as Node[]).map((item) => typeText((item['TypeName'] ?? {}) as Node) ?? 'array');
      break;
    default:
  }
}

function noteTransaction(node: Node, notes: Notes): void {
  const kind = String(node['kind']).replace('TRANS_STMT_', '');
  if (/PREPARE/.test(kind)) {
    notes.transaction = 'two-phase';
    notes.isUnbounded = true;
  } else if (kind === 'BEGIN' || kind === 'START') {
    const modes = ((node['options'] ?? []) as Node[]).map((option) => option['DefElem'] as Node);
    const access = modes.findLast((mode) => mode['defname'] === 'transaction_read_only');
    const isReadOnly = access !== undefined && constantText(access['arg']) === '1';
    notes.transaction = access === undefined ? 'begin' : `begin read ${isReadOnly ? 'only' : 'write'}`;
  } else notes.transaction = /^(?:COMMIT|ROLLBACK)$/.test(kind) ? kind.toLowerCase() : 'savepoint';
}
