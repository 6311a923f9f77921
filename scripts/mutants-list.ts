/** What is broken, one place at a time. Where the second look at the rewritten text would hide a mistake of the first, it is switched off. */

export type Change = { readonly file: string; readonly from: string; readonly to: string };
export type Mutant = { readonly name: string; readonly changes: readonly Change[] };

const blind: Change = { file: 'mask/analyse.ts', from: 'if (!isVerified(', to: 'if (false && !isVerified(' };
const one = (name: string, file: string, from: string, to: string): Mutant => ({ name, changes: [{ file: `mask/${file}`, from, to }] });
const unseen = (name: string, file: string, from: string, to: string): Mutant => ({ name, changes: [{ file: `mask/${file}`, from, to }, blind] });

export const mutants: readonly Mutant[] = [
  unseen('relations are read as they are', 'walk.ts', '    this.edits.push(edit);\n    for', '    for'),
  unseen('every name may be one of WITH', 'walk.ts', 'if (at.name === name) return true;\n  return false;', 'if (at.name === name) return true;\n  return /^(?:customers|orders)$/.test(name);'),
  unseen('PREPARE is left alone', 'statements.ts', "return this.#nested(node['query'], raw);\n      }", 'return;\n      }'),
  unseen('COPY of a table is left alone', 'statements.ts', 'this.#copyOut(relation, found, columns);', 'void 0;'),
  unseen('cursors are left alone', 'statements.ts', "return this.#query(nodeOf(node['query'], 'SelectStmt') ?? notAllowed('DECLARE", "return void (nodeOf(node['query'], 'SelectStmt') ?? notAllowed('DECLARE"),
  one('columns of INSERT are not walked', 'writes.ts', '{ ...node, relation: undefined }', '{ ...node, relation: undefined, cols: undefined }'),
  one('DEFAULT among values runs what it likes', 'writes.ts', '...defaultsOfValues(node)', ''),
  one('DEFAULT in SET runs what it likes', 'writes.ts', "return namesOfTargets(targets.filter(takesDefault));", 'return namesOfTargets(targets.filter((item) => takesDefault(item) && false));'),
  one('the update of an upsert is not judged', 'writes.ts', "(conflict?.['action'] === 'ONCONFLICT_UPDATE'", "(conflict?.['action'] === 'NEVER'"),
  one('moves between partitions are not judged', 'write-problems.ts', "asked.event === 'update' && draft.relation.kind === 'partitioned'", "asked.event === 'insert' && draft.relation.kind === 'partitioned'"),
  one('keys over masked columns tell', 'write-problems.ts', 'if (!all.some(isRawHere)) continue;', 'if (all.some(isRawHere)) continue;'),
  one('foreign keys to masked columns tell', 'write-problems.ts', "columns.some((name) => isRaw(of, name));", 'columns.some((name) => isRaw(of, name)) && false;'),
  one('triggers are trusted', 'write-problems.ts', 'if (!isTrusted) return `its trigger', 'if (false) return `its trigger'),
  one('SET DEFAULT runs what it likes', 'write-problems.ts', 'columns: columnNames(other), defaults: columnNames(other) }', 'columns: columnNames(other) }'),
  one('something behind VALUES is not seen', 'writes.ts', 'if (other !== undefined) throw refuse(`VALUES', 'if (other === "") throw refuse(`VALUES'),
  one('RETURNING is left alone', 'writes.ts', 'walk.edits.push(...maskReturning(node, found, visible, walk));', ''),
  one('RETURNING may compute', 'writes.ts', "values: values?.['valuesLists'], computed };", "values: values?.['valuesLists'] };"),
  one('ON CONFLICT may be about anything', 'writes.ts', "if (name === undefined || visible.some((column) => column.name === name && column.sql === undefined)) continue;", 'continue;'),
  one('clauses of ON CONFLICT are not walked', 'writes.ts', 'const clauses: Node = { cols, targetList, whereClause, onConflictClause,', 'const clauses: Node = { cols, targetList, whereClause,'),
  one('unproven domains are shown as such', 'closure.ts', 'draft.recast.add(column.name);', 'void 0;'),
  one('a write may depend on what is masked', 'writes.ts', '  checkUntouched(walk, found, visible);', ''),
  one('any type is one of the server', 'operators.ts', 'builtInTypes.has(String(name))', "(builtInTypes.has(String(name)) || String(name).startsWith('_'))"),
  one('rows are filled from JSON', 'functions.ts', 'if (fillsRows.has(name) &&', 'if (false &&'),
  one('pg_input_is_valid is safe', 'safe-functions.ts', 'pg_collation_actual_version ', 'pg_input_is_valid pg_input_error_info pg_collation_actual_version '),
  one('ts_stat is safe', 'safe-functions.ts', 'pg_collation_actual_version ', 'ts_stat pg_collation_actual_version '),
  one('query_to_xml is safe', 'safe-functions.ts', 'pg_collation_actual_version ', 'query_to_xml pg_collation_actual_version '),
  one('functions of users are trusted', 'functions.ts', 'return known.length > 0 && (', "return known.length > 0 && (schema === 'public' || "),
  one('operators of users are trusted', 'operators.ts', 'if (unknown === undefined) return;', 'if (unknown?.isTrusted !== true) return;'),
  one('domains are safe', 'type-problems.ts', 'return failed === undefined || failed.code.ok ? undefined :', 'return failed !== undefined || failed === undefined ? undefined :'),
  one('pg_stats can be read', 'lists.ts', 'pg_stat_gssapi ', 'pg_stats pg_statistic pg_stat_gssapi '),
  one('pg_stat_activity can be read', 'lists.ts', 'pg_stat_gssapi ', 'pg_stat_activity pg_stat_gssapi '),
  unseen('pg_attribute is read as it is', 'splice.ts', "new Set(['pg_settings', 'pg_attribute',", "new Set(['pg_settings',"),
  one('reports pass as they are', 'reports.ts', 'if (!shownFields.has(code)) continue;', ''),
  one('EXPLAIN shows costs', 'statements.ts', "COSTS OFF)` });", "COSTS ON)` });"),
  one('children are not masked by their parents', 'closure.ts', 'spread(draft, parent) || spread(parent, draft)', 'false'),
  one('generated columns are clear', 'closure.ts', 'draft.hidden.add(column.name);\n        isChanged = true;', 'isChanged = false;'),
  one('a pattern makes generated columns clear', 'closure.ts', "'namesColumn') !== undefined) continue;", "'namesRelation') !== undefined) continue;"),
  one('views are clear', 'closure.ts', "if (view.relation.kind === 'view') view.isExpanded = true;", "if (view.relation.kind === 'view') return false;"),
  one('materialized views are clear', 'closure.ts', "view.refused = 'it holds copies of columns with masks';", 'return false;'),
  one('row security is not looked at', 'closure.ts', 'if (reason !== undefined) draft.refused = `its row', 'if (reason === "") draft.refused = `its row'),
  one('x.name calls no function', 'functions.ts', 'return known.some((one) => (one.isUnary', 'return false && known.some((one) => (one.isUnary'),
  one('a better match may be taken for a function', 'functions.ts', 'return [qualify(name, node, look, at)];\n}', 'return [];\n}'),
  one('a comment swallows what follows', 'splice.ts', "sampleText.start).toString('utf8');", "sampleText.start).toString('utf8').trimEnd();"),
];
