select * from customers order by id
select id, name, email from customers where id = 2
select count(*) from customers
select country, count(*), sum(balance) from customers group by country order by 2 desc, 1
select c.name, o.item, o.amount from customers c join orders o on o.customer_id = c.id order by o.id
select c.name, o.item from customers c left join orders o on o.customer_id = c.id and o.amount > 10 order by 1, 2
select * from orders where customer_id in (select id from customers where country = 'NL')
select name from customers where exists (select 1 from orders o where o.customer_id = customers.id)
select name from customers c where not exists (select from orders where customer_id = c.id and amount > 1000)
select c.id, c.name, sum(o.amount) as total from customers c join orders o on o.customer_id = c.id group by c.id order by total desc
select c.*, count(o.id) from customers c left join orders o on o.customer_id = c.id group by c.id order by c.id
with big as (select * from orders where amount > 10) select customer_id, count(*) from big group by 1 order by 1
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select i from n
with orders as (select * from orders where amount >= 20) select count(*) from orders
select name, rank() over (order by balance desc) from customers
select name, balance, sum(balance) over (order by id rows between unbounded preceding and current row) from customers
select name, lag(balance) over w, lead(balance) over w from customers window w as (order by id)
select distinct country from customers order by country
select distinct on (country) country, name from customers order by country, id
select name from customers order by balance desc nulls last limit 2 offset 1
select name from customers fetch first 2 rows only
select upper(name), length(name), substring(name from 1 for 3), position('n' in name) from customers order by id
select trim(both ' ' from '  x '), overlay('abc' placing 'X' from 2), coalesce(null, 'a'), nullif(1, 1), greatest(1, 2), least(1, 2)
select case when balance > 100 then 'rich' when balance > 50 then 'fine' else 'poor' end from customers order by id
select case country when 'NL' then 1 else 0 end from customers order by id
select extract(year from created_at), date_trunc('month', created_at), created_at::date, created_at at time zone 'UTC' from customers order by id
select created_at + interval '1 day', age(created_at, '2025-01-01'), to_char(created_at, 'YYYY-MM-DD') from customers order by id
select * from customers where created_at between '2025-01-01' and '2027-01-01' order by id
select * from customers where name ilike 'a%' or name similar to 'B%' order by id
select * from customers where name ~ '^[AB]' order by id
select * from customers where (country, id) in (('NL', 1), ('US', 2)) order by id
select * from customers where id = any (array[1, 2]) order by id
select * from customers where id between 1 and 2 order by id
select array_agg(name order by id), string_agg(country, ',' order by id) from customers
select json_agg(c order by id) from customers c
select jsonb_build_object('id', id, 'name', name) from customers order by id
select row_to_json(c) from (select id, name from customers order by id) c
select count(*) filter (where country = 'NL'), avg(balance)::numeric(10, 2), min(name), max(name) from customers
select country, balance, grouping(country) from customers group by grouping sets ((country, balance), (country), ()) order by 1, 2
select country, sum(balance) from customers group by rollup (country) order by 1
select country from customers group by country having count(*) >= 1 order by 1
select id from customers union select customer_id from orders order by 1
select id from customers intersect select customer_id from orders order by 1
select id from customers except select customer_id from orders where amount > 10 order by 1
select * from customers natural join (select 1 as id) x
select customers.name, x.n from customers cross join lateral (select count(*) as n from orders where customer_id = customers.id) x order by 1
select * from customers c join orders o using (card_number) order by o.id
select o.id, p.amount from orders o join payments p on p.order_id = o.id order by 1
select * from payments where paid_on >= '2026-03-01' order by id
select * from payments_2026 order by id
select * from people order by id
select * from only people order by id
select * from staff order by id
select * from v_masked order by id
select * from v_customers order by id
select * from v_expr order by id
select * from v_nested order by id
select * from public_products order by price
select public.customers.name from public.customers where public.customers.id = 1
select "name" from "public"."customers" where "id" = 1
select c.name as "Full Name" from customers as c where c.id = 1
select generate_series(1, 3)
select * from generate_series('2026-01-01'::date, '2026-01-03', '1 day') d
select unnest(array['a', 'b']) with_ord
select * from unnest(array[1, 2], array['x', 'y']) with ordinality as t(a, b, n)
select * from json_to_recordset('[{"a":1}]') as t(a int)
select * from jsonb_array_elements('[1,2]') x
select '{"a":{"b":1}}'::jsonb #>> '{a,b}', '{"a":1}'::jsonb -> 'a', '{"a":1}'::jsonb @> '{}'
select to_tsvector('simple', name) @@ to_tsquery('simple', 'ann') from customers order by id
select similarity(name, 'Ann') > 0.1 from customers order by id
select name % 'Ann' from customers order by id
select now() > '2020-01-01', current_date > '2020-01-01', current_user is not null, version() like 'Postgre%'
select md5('x'), encode('abc'::bytea, 'base64'), sha256('x'::bytea) is not null
select gen_random_uuid() is not null
select round(1.234, 2), ceil(1.2), floor(1.8), abs(-1), mod(7, 3), power(2, 3), random() < 2
select values.column1 from (values (1), (2)) values order by 1
values (1, 'a'), (2, 'b')
table public_products
select exists (select 1 from customers where id = 99)
select (select max(amount) from orders)
select a.id, b.id from customers a join customers b on a.id < b.id order by 1, 2
select name collate "C" from customers order by name collate "C"
select cast(balance as int), balance::text, '5'::int + 1 from customers order by id
select pg_typeof(balance), pg_typeof(name) from customers limit 1
select format('%s-%s', id, name) from customers order by id
select regexp_replace(name, '[aeiou]', '*', 'g'), split_part(name, ' ', 1) from customers order by id
select percentile_cont(0.5) within group (order by balance) from customers
select ntile(2) over (order by id), row_number() over (), first_value(name) over (order by id) from customers order by id
select width_bucket(balance, 0, 300, 3) from customers order by id
select * from customers where email is not null order by id
select * from customers where card_number is null order by id
select last_name from (select split_part(name, ' ', 2) as last_name from customers) n order by 1
select o.status, count(*) from orders o group by o.status
select date_part('dow', paid_on), sum(amount) from payments group by 1 order by 1
select id, name from customers where id > 0 order by id limit 10 for update
select id from orders where status = 'new' order by id limit 1 for update skip locked
select id, name from customers where id = 1 for share
insert into scratch (a, b) values ('x', 'y') returning id > 0
insert into scratch (a, n) values ('x', 1), ('y', 2)
insert into scratch (u, a) values ('k', '1') on conflict (u) do update set a = excluded.a
insert into scratch (u, a) values ('k', '1') on conflict do nothing
insert into scratch (a) select name from public_products
insert into public_products (id, name, price) values (9, 'cap', 1) returning *
update public_products set price = price + 1 where id = 9 returning price
update orders set status = 'paid' where id = 11
update orders set status = 'paid', amount = amount + 0 where id in (11, 12) returning id, status
delete from public_products where id = 9
update customers set country = 'BE' where id = 1 and country = 'NL'
insert into customers (id, name, country) values (7, 'Gil', 'FR') returning id, name, country
delete from customers where id = 7
begin
savepoint a
rollback to a
release a
commit
begin isolation level repeatable read read only
rollback
set statement_timeout = 0
set statement_timeout to '5s'
reset statement_timeout
set time zone 'UTC'
set datestyle to 'ISO, MDY'
set application_name = 'x'
set extra_float_digits = 3
set client_encoding to 'UTF8'
set session characteristics as transaction isolation level read committed
show search_path
show server_version
show transaction isolation level
prepare q(int) as select name from customers where id = $1
execute q(1)
deallocate q
explain select * from customers where id = 1
explain (costs off, verbose) select name from customers where id = 1
explain (format json) select 1
copy (select id, name from customers order by id) to stdout
copy public_products to stdout with (format csv, header)
copy customers to stdout
copy customers (id, name) to stdout csv
select current_database(), current_schema(), session_user, pg_backend_pid() > 0
select current_setting('server_version_num')::int > 0
select relname, relkind from pg_class where relname = 'customers'
select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'customers'::regclass and attnum > 0 order by attnum
select table_name from information_schema.tables where table_schema = 'public' order by 1
select column_name, data_type from information_schema.columns where table_name = 'customers' order by ordinal_position
select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'customers'::regclass order by 1
select indexname, indexdef from pg_indexes where tablename = 'customers' order by 1
select obj_description('customers'::regclass), col_description('customers'::regclass, 1)
select has_table_privilege('customers', 'select'), has_schema_privilege('public', 'usage')
select to_regclass('public.customers') is not null, 'customers'::regclass::text
select pg_size_pretty(1024::bigint), pg_get_userbyid(10) is not null
select name, setting from pg_settings where name in ('TimeZone', 'server_encoding') order by 1
select oid > 0, typname from pg_type where typname = 'mood'
select 'ok'::mood, enum_range(null::mood)
select '{1,2}'::int[] || 3, array_length(array[1, 2], 1), 2 = any ('{1,2}'::int[])
select int4range(1, 5) @> 3, daterange('2026-01-01', '2026-02-01') && daterange('2026-01-15', null)
select 'a=>1'::hstore -> 'a'
select inet '10.0.0.1' << inet '10.0.0.0/8'
select interval '1 day' * 2, date '2026-01-31' + 1, make_date(2026, 1, 1)
select b.*, c.name from (select customer_id, max(amount) as top from orders group by customer_id) b join customers c on c.id = b.customer_id order by 1
select c.country, o.status, sum(o.amount) from orders o join customers c on c.id = o.customer_id where o.amount > 0 group by 1, 2 having sum(o.amount) > 0 order by 1, 2
select distinct c.id, c.name from customers c, orders o, payments p where o.customer_id = c.id and p.order_id = o.id order by 1
select coalesce(c.name, 'nobody') from orders o full join customers c on c.id = o.customer_id order by 1
select id, name, count(*) over (partition by country) from customers order by id
select (c).name from customers c order by 1
select c from (select id, name from customers) c order by 1
select array(select name from customers order by id)
select row(1, 'a') = row(1, 'a')
select not true, true and false or true, 1 is distinct from 2, 1 is not null, true is unknown
select -balance, balance ^ 1, balance % 7, |/ 4.0 from customers order by id
select $$it's$$, E'a\nb', U&'\0041' from public_products where false
select c.name, lag(c.balance) over (order by c.id), lead(c.name, 2, 'none') over (order by c.id) from customers c order by c.id
select first_value(name) over (partition by country order by id rows between unbounded preceding and current row) from customers order by id
select percentile_cont(0.5) within group (order by amount) from orders
select status, array_agg(item order by id) from orders group by status order by 1
select status, jsonb_agg(jsonb_build_object('id', id, 'item', item) order by id) from orders group by status order by 1
select string_agg(distinct country, ',' order by country) from customers
select count(*) filter (where amount > 10), sum(amount) filter (where status is not null) from orders
select grouping(status), status, count(id) from orders group by rollup (status) order by 1, 2
select id, name from customers where name ilike 'a%' or name similar to 'B%' order by id
select id from customers where created_at >= date '2020-01-01' and created_at < now() order by id
select date_trunc('month', created_at) as month, count(id) from customers group by 1 order by 1
select extract(year from created_at)::int as y, count(id) from customers group by y order by y
select to_char(created_at, 'YYYY-MM-DD'), to_char(balance, 'FM999990.00') from customers order by id
select o.id, (select name from customers c where c.id = o.customer_id) as customer from orders o order by o.id
select id, name from customers where exists (select 1 from orders o where o.customer_id = customers.id and o.amount > 1) order by id
select c.id, o.total from customers c left join lateral (select sum(amount) as total from orders where customer_id = c.id) o on true order by c.id
select id, name from customers where (country, name) in (select country, name from customers) order by id
with recursive t (n) as (values (1) union all select n + 1 from t where n < 5) select n from t
with big as (select id from orders where amount > 5), small as (select id from orders where amount <= 5) select (select count(id) from big), (select count(id) from small)
select id from orders union all select id from payments order by 1 limit 3 offset 1
select id from customers except select customer_id from orders order by 1
select id, name from customers order by name desc nulls last, id fetch first 2 rows only
select coalesce(nullif(name, ''), 'unnamed'), greatest(id, 2), least(balance, 5) from customers order by id
select case country when 'US' then 'domestic' else 'foreign' end as kind, count(id) from customers group by kind order by kind
select id, lower(name), upper(country), length(name), substring(name from 1 for 3), position('n' in name) from customers order by id
select regexp_replace(name, '[aeiou]', '_', 'g'), split_part(name, ' ', 1), trim(name) from customers order by id
select x.id, x.n from unnest(array[1, 2], array['a', 'b']) as x (id, n) order by 1
select d::date from generate_series(timestamp '2026-01-01', timestamp '2026-01-03', interval '1 day') d
select j ->> 'a', j -> 'b' -> 0, j #>> '{b,1}' from (values ('{"a": 1, "b": [2, 3]}'::jsonb)) v (j)
select k, v from jsonb_each_text('{"a": 1, "b": 2}') as e (k, v) order by k
select * from json_to_recordset('[{"id": 1, "n": "a"}]') as r (id int, n text)
select id, round(balance::numeric, 1), abs(balance), ceil(balance), mod(id::int, 2) from customers order by id
select customers.id, customers.name from customers join orders on orders.customer_id = customers.id and orders.amount between 1 and 1000 group by customers.id order by 1
select id, name from customers where id = any (array[1, 3]) order by id
select bool_and(balance is not null), bool_or(country = 'US'), every(id > 0) from customers
select md5(name), encode(sha256(name::bytea), 'hex') from customers order by id
