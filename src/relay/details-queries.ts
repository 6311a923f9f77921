/** What the relay asks a database beyond names, where columns are masked. For PostgreSQL 15 to 18; asked with search_path = pg_catalog. */

import { firstUserId } from '../sql/catalog.ts';

const own = `n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'`;

/** Extensions whose functions compute from their arguments, and show nothing of other rows, sessions or files. */
const pureExtensions = ['citext', 'hstore', 'pg_trgm', 'btree_gin', 'btree_gist', 'uuid-ossp', 'pgcrypto', 'unaccent', 'fuzzystrmatch', 'intarray', 'ltree', 'cube', 'earthdistance', 'isn', 'seg', 'vector', 'hll'];
const isPure = (classId: string, id: string) => `exists (select from pg_depend e join pg_extension x on x.oid = e.refobjid
  where e.classid = '${classId}'::regclass and e.objid = ${id} and e.deptype = 'e' and e.refclassid = 'pg_extension'::regclass
    and x.extname in (${pureExtensions.map((name) => `'${name}'`).join(', ')}))`;

/** Domains down to the type that they are made of, with its modifier. */
const bases = `bases(id, base, typmod) as (
    select oid, oid, -1 from pg_type where typtype <> 'd'
    union all
    select d.oid, coalesce(b.base, d.typbasetype), case when d.typtypmod <> -1 then d.typtypmod else coalesce(b.typmod, -1) end
      from pg_type d left join lateral (
        with recursive down(id, typmod) as (
          select d.typbasetype, d.typtypmod
          union all select t.typbasetype, t.typtypmod from down join pg_type t on t.oid = down.id where t.typtype = 'd'
        ) select down.id as base, down.typmod from down join pg_type t on t.oid = down.id where t.typtype <> 'd'
      ) b on true
      where d.typtype = 'd'
  )`;

const typeText = (id: string, typmod: string) => `case when ${typmod} = -1 and b.typnamespace = 'pg_catalog'::regnamespace
  then 'pg_catalog.' || quote_ident(b.typname) else format_type(${id}, ${typmod}) end`;
const typeName = `case when b.typnamespace = 'pg_catalog'::regnamespace then b.typname else bn.nspname || '.' || b.typname end`;

export const columns = `with ${bases}
  select a.attrelid, a.attname, a.attnum, ${typeText('b.oid', 'm.typmod')}, ${typeName}, b.typtype, b.typcategory, t.typtype = 'd', a.attnotnull, a.attgenerated,
    pg_get_expr(d.adbin, d.adrelid), has_column_privilege(c.oid, a.attnum, 'select')
  from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'v', 'm', 'f')
    join pg_namespace n on n.oid = c.relnamespace
    join pg_type t on t.oid = a.atttypid
    join bases on bases.id = t.oid
    cross join lateral (select case when t.typtype = 'd' then bases.typmod else a.atttypmod end) m (typmod)
    join pg_type b on b.oid = bases.base
    join pg_namespace bn on bn.oid = b.typnamespace
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attnum > 0 and not a.attisdropped and ${own}
  order by a.attrelid, a.attnum`;

export const relations = `select c.oid, case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
    c.reloptions @> array['security_barrier=true'] or c.reloptions @> array['security_barrier=on'] or c.reloptions @> array['security_barrier'],
    (select json_agg(a.attname) from pg_constraint k join pg_attribute a on a.attrelid = c.oid and a.attnum = any (k.conkey)
      where k.conrelid = c.oid and k.contype = 'p' and not k.condeferrable),
    pg_has_role(c.relowner, 'member'),
    (select json_agg(coalesce(a.attname, '*')) from pg_partitioned_table p cross join lateral unnest(p.partattrs::int2[]) k (attnum)
      left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = k.attnum and k.attnum > 0 where p.partrelid = c.oid)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and ${own}`;

export const checks = `select k.conrelid, k.conname, pg_get_expr(k.conbin, k.conrelid), k.convalidated from pg_constraint k where k.contype = 'c' and k.conrelid <> 0`;

export const indexExpressions = `select i.indrelid, c.relname, pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)
  from pg_index i join pg_class c on c.oid = i.indexrelid
  where i.indrelid >= ${firstUserId} and (i.indexprs is not null or i.indpred is not null)`;

export const uniques = `select i.indrelid, c.relname, i.indnullsnotdistinct, i.indisvalid, (select coalesce(json_agg(a.attname), '[]') from pg_attribute a
    where a.attrelid = i.indrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
  from pg_index i join pg_class c on c.oid = i.indexrelid
  where i.indrelid >= ${firstUserId} and (i.indisunique or i.indisexclusion)`;

/** polcmd: r select, a insert, w update, d delete, * all. */
export const policies = `select polrelid, polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) from pg_policy`;

export const triggers = `select t.tgrelid, t.tgname, t.tgtype, f.nspname, p.proname, pg_get_expr(t.tgqual, t.tgrelid),
    (select json_agg(a.attname) from pg_attribute a where a.attrelid = t.tgrelid and a.attnum = any (t.tgattr::int2[]))
  from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace f on f.oid = p.pronamespace
  where (not t.tgisinternal or p.oid >= ${firstUserId}) and t.tgenabled <> 'D'`;

export const types = `with ${bases}
  select t.oid, t.typarray, n.nspname, t.typname, t.typtype, ${isPure('pg_type', 't.oid')}, case when t.typtype = 'd' then ${typeText('b.oid', 'bases.typmod')} end
  from pg_type t join pg_namespace n on n.oid = t.typnamespace join bases on bases.id = t.oid join pg_type b on b.oid = bases.base
    left join pg_class c on c.oid = t.typrelid
  where t.oid >= ${firstUserId} and t.typelem = 0 and (t.typtype <> 'c' or c.relkind = 'c') and n.nspname <> 'information_schema'`;

/** Of a domain over another, the checks of both. */
export const domainChecks = `select contypid, conname, pg_get_expr(conbin, 0) from pg_constraint where contype = 'c' and contypid >= ${firstUserId}`;
export const domainBases = `select oid, typbasetype from pg_type where typtype = 'd' and oid >= ${firstUserId}`;

export const fields = `select a.attrelid, t.oid, a.attname, ${typeName}
  from pg_type t join pg_class c on c.oid = t.typrelid and c.relkind = 'c' join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type b on b.oid = a.atttypid join pg_namespace bn on bn.oid = b.typnamespace
  where t.oid >= ${firstUserId} order by t.oid, a.attnum`;

export const pureFunctions = `select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname not in ('pg_catalog', 'information_schema') group by n.nspname, p.proname having bool_and(${isPure('pg_proc', 'p.oid')})`;

export const unnamedCode = `select 'the cast ' || format_type(c.castsource, null) || ' AS ' || format_type(c.casttarget, null)
  from pg_cast c join pg_proc p on p.oid = c.castfunc where c.oid >= ${firstUserId} and not ${isPure('pg_proc', 'p.oid')}
  union all select 'the operator family ' || f.opfname || ' for ' || format_type(s.amproclefttype, null)
  from pg_amproc s join pg_opfamily f on f.oid = s.amprocfamily
  where s.amproc >= ${firstUserId} and s.amproclefttype < ${firstUserId} and not ${isPure('pg_proc', 's.amproc')}`;

export const role = `select current_user, rolsuper, pg_has_role('pg_read_all_data', 'member'), current_setting('server_version_num') from pg_roles where rolname = current_user`;

const hashOf = (table: string, high: string, low: string, where: string) =>
  `select bit_xor(hashint8extended((${high}::int8 << 32) | xmin::text::int8, ${low})) from ${table} where ${where}`;

/** A number that changes with anything above that the epoch of names does not see. */
export const detailsEpoch = `select bit_xor(hash) from (${[
  hashOf('pg_attribute', 'attrelid', 'attnum', `attrelid >= ${firstUserId}`),
  hashOf('pg_auth_members', 'roleid', `member::int8`, 'true'),
  hashOf('pg_amproc', 'oid', 'amproc::int8', `oid >= ${firstUserId}`),
  `select hashint8extended(oid::int8, (rolsuper::int + 2)::int8) from pg_roles where rolname = current_user`,
].join(' union all ')}) hashes (hash)`;
