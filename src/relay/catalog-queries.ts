/** What the relay asks a database's catalog. For PostgreSQL 15 to 18; every role may read what they read. */

import { firstUserId } from '../sql/catalog.ts';

/** Extensions whose functions and operators compute and nothing else: no SQL from strings, no files, no other server. */
const trustedExtensions = `
  citext hstore pg_trgm btree_gin btree_gist uuid-ossp pgcrypto unaccent fuzzystrmatch intarray ltree cube earthdistance isn seg
  vector hll pg_stat_statements plpgsql tsm_system_rows tsm_system_time bloom dict_int dict_xsyn intagg`
  .trim()
  .split(/\s+/);

/**
 * Whether the object, and the function p behind it, belong to such an extension; or to any other if it is compiled, so
 * that only a superuser can have brought it, and says that it changes nothing.
 */
const trusted = (classId: string, id: string) => `exists (select from pg_depend e join pg_extension x on x.oid = e.refobjid
  where e.classid = '${classId}'::regclass and e.objid = ${id} and e.deptype = 'e' and e.refclassid = 'pg_extension'::regclass
    and (x.extname in (${trustedExtensions.map((name) => `'${name}'`).join(', ')})
      or (p.provolatile <> 'v' and p.prolang in (select l.oid from pg_language l where l.lanname in ('c', 'internal')))))`;

export const session = `select current_setting('search_path'), current_user`;

export const schemas = `select nspname from pg_namespace where has_schema_privilege(oid, 'usage')`;

export const relations = `select c.oid, n.nspname, c.relname, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I') and not (c.relkind = 'i' and c.oid < ${firstUserId})
    and n.nspname !~ '^pg_toast'`;

/** One row per column of each unique key that holds at every moment; the last column says whether it can be used. */
export const keys = `select i.indexrelid, i.indrelid, a.attname,
    case when b.typtype = 'e' then 'enum' when b.typname = 'citext' or b.typnamespace = 'pg_catalog'::regnamespace then b.typname end,
    o.opcdefault and (k.collation_id = 0 or k.collation_id = a.attcollation)
      and (b.typtype in ('e', 'b', 'r') and (b.typtype = 'e' or b.typname = 'citext' or b.typnamespace = 'pg_catalog'::regnamespace))
  from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam and m.amname = 'btree'
    cross join lateral unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) with ordinality k (attnum, opclass, collation_id, position)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    join pg_type t on t.oid = a.atttypid
    join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
    join pg_opclass o on o.oid = k.opclass
  where i.indisunique and i.indisvalid and i.indisready and i.indislive and i.indimmediate and i.indpred is null and i.indexprs is null
    and i.indrelid >= ${firstUserId} and k.position <= i.indnkeyatts
  order by i.indexrelid, k.position`;

/** Parents of children, and tables of indexes. */
export const inheritance = `select inhrelid, inhparent from pg_inherits`;
export const indexes = `select indexrelid, indrelid from pg_index where indexrelid >= ${firstUserId}`;

/** Rules that are not views' own, enabled ones; ev_type is 2 update, 3 insert, 4 delete. */
export const rules = `select ev_class, ev_type from pg_rewrite where ev_type <> '1' and ev_enabled <> 'D' and oid >= ${firstUserId}`;

/**
 * Relations and functions that stored queries name. Their parse trees are searched because pg_depend leaves out all that
 * came with the server, a view of pg_authid for one. One row per name, of a relation or of a function.
 */
export const storedQueries = `select r.owner, r.event, case m.kind when 'relid' then m.id end, n.nspname, p.proname
  from (
    select ev_class as owner, ev_type as event, ev_action::text || coalesce(ev_qual::text, '') as tree from pg_rewrite where oid >= ${firstUserId}
    union all select polrelid, '1', coalesce(polqual::text, '') || coalesce(polwithcheck::text, '') from pg_policy
  ) r
    cross join lateral (select distinct t[1] as kind, t[2]::oid as id from regexp_matches(r.tree, ':(relid|funcid|aggfnoid|winfnoid) (\\d+)', 'g') t) m
    left join pg_proc p on p.oid = m.id and m.kind <> 'relid'
    left join pg_namespace n on n.oid = p.pronamespace
  where case m.kind when 'relid' then m.id not in (0, r.owner) else p.oid is not null end`;

/** Domains with functions of users in their checks ("root"), and every type that holds one: arrays, rows, ranges, domains over it. */
const checkedTypes = `checked(root, type) as (
    select distinct k.contypid, k.contypid from pg_constraint k
      join pg_depend d on d.classid = 'pg_constraint'::regclass and d.objid = k.oid and d.refclassid = 'pg_proc'::regclass and d.refobjid >= ${firstUserId}
      where k.contypid <> 0
    union
    select c.root, p.whole from checked c join (
      select oid, typbasetype from pg_type where typbasetype <> 0
      union all select oid, typelem from pg_type where typelem <> 0
      union all select rngtypid, rngsubtype from pg_range
      union all select r.reltype, a.atttypid from pg_class r join pg_attribute a on a.attrelid = r.oid where r.reltype <> 0 and a.attnum > 0 and not a.attisdropped
    ) p (whole, part) on p.part = c.type
  )`;

/** Functions of users that stand in stored expressions, also as operators: who runs them, and whether on reading ("r") or writing. */
export const storedCalls = `
  with recursive ${checkedTypes}, calls as (
    select d.classid, d.objid, coalesce(o.oprcode::oid, d.refobjid) as function
    from pg_depend d left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
    where d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass) and d.refobjid >= ${firstUserId}
      and d.classid in ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass, 'pg_policy'::regclass, 'pg_rewrite'::regclass)
  ), owned as (
    select a.adrelid as relation, case when t.attgenerated = 'v' then 'rw' else 'w' end as event, c.function
      from calls c join pg_attrdef a on c.classid = 'pg_attrdef'::regclass and a.oid = c.objid
        join pg_attribute t on t.attrelid = a.adrelid and t.attnum = a.adnum
    union all select k.conrelid, 'w', c.function from calls c join pg_constraint k on c.classid = 'pg_constraint'::regclass and k.oid = c.objid
      where k.conrelid <> 0 and k.contype <> 'f'
    union all select t.attrelid, 'w', c.function from calls c join pg_constraint k on c.classid = 'pg_constraint'::regclass and k.oid = c.objid
      join checked on checked.root = k.contypid join pg_attribute t on t.atttypid = checked.type and t.attnum > 0
    union all select coalesce(i.indrelid, c.objid), 'w', c.function from calls c left join pg_index i on i.indexrelid = c.objid
      where c.classid = 'pg_class'::regclass
    union all select p.polrelid, 'rw', c.function from calls c join pg_policy p on c.classid = 'pg_policy'::regclass and p.oid = c.objid
    union all select r.ev_class, 'r', c.function from calls c join pg_rewrite r on c.classid = 'pg_rewrite'::regclass and r.oid = c.objid
  )
  select distinct w.relation, w.event, n.nspname, p.proname
  from owned w join pg_proc p on p.oid = w.function join pg_namespace n on n.oid = p.pronamespace`;

/** Those that partitions have from their parents are internal in some versions; the server's own for foreign keys are left out. */
export const triggers = `select t.tgrelid, t.tgtype, n.nspname, p.proname
  from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace n on n.oid = p.pronamespace
  where (not t.tgisinternal or p.oid >= ${firstUserId}) and t.tgenabled <> 'D'`;

export const foreignKeys = `select k.confrelid, k.conrelid, k.confdeltype, k.confupdtype,
    (select json_agg(a.attname) from pg_attribute a where a.attrelid = k.confrelid and a.attnum = any (k.confkey)),
    (select json_agg(a.attname) from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any (k.conkey))
  from pg_constraint k where k.contype = 'f'`;

/** A trigger function that only sets columns of the new row from the clock is as good as one of the server's. */
const touches = `p.prolang = (select oid from pg_language where lanname = 'plpgsql') and p.prorettype = 'trigger'::regtype
  and p.prosrc ~* '^\\s*begin\\s+(new\\.[a-z_0-9]+\\s*:?=\\s*((pg_catalog\\.)?(clock_timestamp|transaction_timestamp|statement_timestamp)\\(\\)|now\\(\\)|current_timestamp|localtimestamp|current_date|pg_catalog\\.now\\(\\))\\s*;\\s*)+return\\s+new\\s*;\\s*end\\s*;?\\s*$'`;

export const functions = `select n.nspname, p.proname,
    bool_or(p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1),
    bool_or(p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1
      and (a.typtype = 'c' or b.typtype = 'c' or a.typname in ('record', 'any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray'))),
    bool_and(p.oid < ${firstUserId} or ${trusted('pg_proc', 'p.oid')} or (${touches})),
    bool_or(p.proretset)
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    left join pg_type a on a.oid = p.proargtypes[0]
    left join pg_type b on b.oid = a.typbasetype
  group by n.nspname, p.proname`;

export const operators = `select n.nspname, o.oprname, f.nspname, p.proname, ${trusted('pg_operator', 'o.oid')}
  from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
    join pg_proc p on p.oid = o.oprcode join pg_namespace f on f.oid = p.pronamespace
  where o.oid >= ${firstUserId}`;

/** Types of users, and functions of users that values of a type run: in checks of domains and in casts ("i" without being asked). */
export const types = `with recursive ${checkedTypes} select n.nspname, t.typname, null, null, null from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where t.oid >= ${firstUserId} and t.typtype in ('d', 'e', 'b', 'r', 'm') and t.typelem = 0
  union all
  select n.nspname, t.typname, f.nspname, p.proname, 'e'
    from pg_constraint k join pg_depend d on d.classid = 'pg_constraint'::regclass and d.objid = k.oid and d.refclassid = 'pg_proc'::regclass
      join pg_proc p on p.oid = d.refobjid and p.oid >= ${firstUserId} join pg_namespace f on f.oid = p.pronamespace
      join checked on checked.root = k.contypid join pg_type t on t.oid = checked.type join pg_namespace n on n.oid = t.typnamespace
  union all
  select n.nspname, t.typname, f.nspname, p.proname, case c.castcontext when 'e' then 'e' else 'i' end
    from pg_cast c join pg_proc p on p.oid = c.castfunc and p.oid >= ${firstUserId} join pg_namespace f on f.oid = p.pronamespace
      join pg_type t on t.oid = c.casttarget join pg_namespace n on n.oid = t.typnamespace
    where not ${trusted('pg_proc', 'p.oid')}`;

/** Two numbers that change whenever anything above does: the second for temporary relations, which come and go all the time. */
export const epoch = `select (select bit_xor(hash) from (${[
  hashOf('pg_class', 'oid', `relpersistence <> 't'`),
  hashOf('pg_proc', 'oid', `oid >= ${firstUserId}`),
  hashOf('pg_rewrite', 'oid', `oid >= ${firstUserId}`),
  hashOf('pg_type', 'oid', `oid >= ${firstUserId} and typtype <> 'c' and typelem = 0`),
  ...['pg_trigger', 'pg_constraint', 'pg_namespace', 'pg_operator', 'pg_cast', 'pg_attrdef', 'pg_policy', 'pg_extension'].map((table) =>
    hashOf(table, 'oid', 'true'),
  ),
  hashOf('pg_inherits', 'inhrelid', 'true'),
  hashOf('pg_index', 'indexrelid', 'true'),
  // Of columns only the names and types of those in keys matter.
  `select bit_xor(hashint8extended((a.attrelid::int8 << 32) | a.xmin::text::int8, a.attnum)) from pg_index i
     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey) where i.indisunique and i.indrelid >= ${firstUserId}`,
].join(' union all ')}) hashes (hash)), (${hashOf('pg_class', 'oid', `relpersistence = 't'`)})`;

function hashOf(table: string, id: string, where: string): string {
  return `select bit_xor(hashint8extended((${id}::int8 << 32) | xmin::text::int8, '${table}'::regclass::oid::int8)) from ${table} where ${where}`;
}
