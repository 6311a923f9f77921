/** Types of pg_catalog that a statement may name. An array type or a row type of the database's own looks like one of them but for its name. */
const scalars = `
  aclitem bit bool box bpchar bytea char cid cidr circle date datemultirange daterange float4 float8 inet int2 int2vector int4 int4multirange int4range
  int8 int8multirange int8range interval json jsonb jsonpath line lseg macaddr macaddr8 money name numeric nummultirange numrange oid oidvector path
  pg_lsn pg_snapshot point polygon record refcursor regclass regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure
  regrole regtype text tid time timestamp timestamptz timetz tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector txid_snapshot uuid varbit
  varchar xid xid8 xml`
  .trim()
  .split(/\s+/);

export const builtInTypes: ReadonlySet<string> = new Set([...scalars, ...scalars.map((name) => `_${name}`), 'unknown', 'void', 'any', 'pg_node_tree']);
