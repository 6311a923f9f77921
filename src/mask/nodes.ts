/** The closed list of what a statement may be made of: kinds of nodes, and their fields. What is not on it is refused. */

/**
 * A line for each kind of node. `field:Kind` points to a node without naming its kind; other fields hold values, or nodes
 * that name theirs. Fields of PostgreSQL 15 to 18.
 */
const table = `
SelectStmt distinctClause intoClause targetList fromClause whereClause groupClause groupDistinct havingClause windowClause valuesLists sortClause limitOffset limitCount limitOption lockingClause withClause:WithClause op all larg:SelectStmt rarg:SelectStmt
WithClause ctes recursive location
CommonTableExpr ctename aliascolnames ctematerialized ctequery search_clause:CTESearchClause cycle_clause:CTECycleClause location
CTESearchClause search_col_list search_breadth_first search_seq_column location
CTECycleClause cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column location
ResTarget name indirection val location
ColumnRef fields location
A_Star
A_Const ival fval boolval sval bsval isnull location
ParamRef number location
A_Expr kind name lexpr rexpr rexpr_list_start rexpr_list_end location
BoolExpr boolop args location
FuncCall funcname args agg_order agg_filter over:WindowDef agg_within_group agg_star agg_distinct func_variadic funcformat location
NamedArgExpr arg name argnumber location
TypeCast arg typeName:TypeName location
TypeName names typeOid setof pct_type typmods typemod arrayBounds location
CollateClause arg collname location
RangeVar catalogname schemaname relname inh relpersistence alias:Alias location
RangeSubselect lateral subquery alias:Alias
RangeFunction lateral ordinality is_rowsfrom functions alias:Alias coldeflist
RangeTableSample relation method args repeatable location
JoinExpr jointype isNatural larg rarg usingClause join_using_alias:Alias quals alias:Alias rtindex
Alias aliasname colnames
ColumnDef colname typeName:TypeName is_local location
SortBy node sortby_dir sortby_nulls useOp location
WindowDef name refname partitionClause orderClause frameOptions startOffset endOffset location
SubLink subLinkType subLinkId testexpr operName subselect location
CaseExpr arg args defresult location
CaseWhen expr result location
CoalesceExpr args location
MinMaxExpr op args location
NullTest arg nulltesttype location
BooleanTest arg booltesttype location
A_ArrayExpr elements list_start list_end location
A_Indirection arg indirection
A_Indices is_slice lidx uidx
RowExpr args row_format colnames location
GroupingSet kind content location
GroupingFunc args location
SQLValueFunction op typmod location
SetToDefault location
LockingClause lockedRels strength waitPolicy
XmlExpr op name named_args args xmloption indent location
XmlSerialize xmloption expr typeName:TypeName indent location
JsonObjectConstructor exprs output:JsonOutput absent_on_null unique location
JsonArrayConstructor exprs output:JsonOutput absent_on_null location
JsonArrayQueryConstructor query output:JsonOutput format:JsonFormat absent_on_null location
JsonAggConstructor output:JsonOutput agg_filter agg_order over:WindowDef location
JsonObjectAgg constructor:JsonAggConstructor arg:JsonKeyValue absent_on_null unique
JsonArrayAgg constructor:JsonAggConstructor arg:JsonValueExpr absent_on_null
JsonKeyValue key value:JsonValueExpr
JsonValueExpr raw_expr formatted_expr format:JsonFormat
JsonFormat format_type encoding location
JsonOutput typeName:TypeName returning:JsonReturning
JsonReturning format:JsonFormat typid typmod
JsonIsPredicate expr format:JsonFormat item_type unique_keys location
JsonParseExpr expr:JsonValueExpr output:JsonOutput unique_keys location
JsonScalarExpr expr output:JsonOutput location
JsonSerializeExpr expr:JsonValueExpr output:JsonOutput location
JsonFuncExpr op column_name context_item:JsonValueExpr pathspec passing output:JsonOutput on_empty:JsonBehavior on_error:JsonBehavior wrapper quotes location
JsonArgument val:JsonValueExpr name
JsonBehavior btype expr coerce location
JsonTable context_item:JsonValueExpr pathspec:JsonTablePathSpec passing columns on_error:JsonBehavior alias:Alias lateral location
JsonTablePathSpec string name name_location location
JsonTableColumn coltype name typeName:TypeName pathspec:JsonTablePathSpec format:JsonFormat wrapper quotes columns on_empty:JsonBehavior on_error:JsonBehavior location
RangeTableFunc lateral docexpr rowexpr namespaces columns alias:Alias location
RangeTableFuncCol colname typeName:TypeName for_ordinality is_not_null colexpr coldefexpr location
MultiAssignRef source colno ncolumns
List items
String sval
Integer ival
Float fval
Boolean boolval
BitString bsval
`;

export type NodeFields = ReadonlyMap<string, string | undefined>;

/** Kind of node → its fields, each with the kind of the node that it points to where that stands in no other place. */
export const nodeFields: ReadonlyMap<string, NodeFields> = new Map(
  table
    .trim()
    .split('\n')
    .map((line) => {
      const [kind = '', ...fields] = line.split(' ');
      return [kind, new Map(fields.map((field) => field.split(':') as [string, string | undefined]))];
    }),
);

/** Those that came with a version: in the grammar of an older server the same text means something else. */
export const nodesSince: ReadonlyMap<string, number> = new Map([
  ...['JsonObjectConstructor', 'JsonArrayConstructor', 'JsonArrayQueryConstructor', 'JsonObjectAgg', 'JsonArrayAgg', 'JsonIsPredicate'].map((kind) => [kind, 16] as const),
  ...['JsonParseExpr', 'JsonScalarExpr', 'JsonSerializeExpr', 'JsonFuncExpr', 'JsonTable'].map((kind) => [kind, 17] as const),
]);
