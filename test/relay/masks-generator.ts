/** Random statements over the sample schema that try to tell the two worlds apart: half of all expressions look at masked columns. */

/** The same numbers for the same seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

type Table = { readonly name: string; readonly masked: readonly string[]; readonly clean: readonly string[] };

const tables: readonly Table[] = [
  { name: 'customers', masked: ['card_number', 'ssn', 'pin', 'email', 'profile', 'tags', 'reach', 'notes', 'card_tail', 'search'], clean: ['id', 'name', 'country', 'balance', 'created_at'] },
  { name: 'public.orders', masked: ['card_number'], clean: ['id', 'customer_id', 'item', 'amount', 'status'] },
  { name: 'payments', masked: ['pan'], clean: ['id', 'order_id', 'paid_on', 'amount'] },
  { name: 'payments_2026', masked: ['pan'], clean: ['id', 'order_id', 'amount'] },
  { name: 'people', masked: ['ssn'], clean: ['id', 'name'] },
  { name: 'only people', masked: ['ssn'], clean: ['id', 'name'] },
  { name: 'staff', masked: ['ssn'], clean: ['id', 'badge'] },
  { name: 'v_customers', masked: ['cc'], clean: ['id', 'name'] },
  { name: 'v_nested', masked: ['ref'], clean: ['id'] },
  { name: 'v_expr', masked: ['label'], clean: ['id'] },
  { name: 'v_masked', masked: ['card_number', 'email'], clean: ['id', 'name'] },
  { name: 'mv_customers', masked: ['cc'], clean: ['id'] },
  { name: 'public_products', masked: [], clean: ['id', 'name', 'price'] },
];

/** Ways to values that name no masked column. */
const directs = [
  `select '411'::fz_dom`,
  `select '{411,5}'::_fz_dom`,
  `select cast(null as fz_keys)`,
  `select null::_customers`,
  `select pg_input_is_valid('4', 'fz_dom')`,
  `select * from pg_input_error_info('5', 'fz_dom')`,
  `select jsonb_populate_record(null::fz_row, '{"d":"4"}')`,
  `select jsonb_populate_record(k, '{"card":"4"}') from fz_keys k`,
  `select * from jsonb_to_record('{"d":"4"}') as r (d fz_dom)`,
  `select fz_peek('4')`,
  `select fz_stolen()`,
  `select card_of(1)`,
  `select card_of(id) from customers order by 1`,
  `select cust_tab(1)`,
  `select * from cust_tab()`,
  `select word from ts_stat('select to_tsvector(card_number::text) from customers') order by 1`,
  `select count(*) from pg_attribute a where a::text ~ '[345][0-9]{13}'`,
  `select to_jsonb(a) ->> 'attmissingval' from pg_attribute a where attrelid = 'fz_keys'::regclass order by attnum`,
  `select attmissingval from pg_attribute where attname = 'late'`,
  `select most_common_vals, histogram_bounds from pg_stats where tablename = 'customers' order by attname`,
  `select stavalues1 from pg_statistic order by 1`,
  `select query from pg_stat_activity order by 1`,
  `select array_append(array_agg(d), '411') from fz_doms`,
  `select lag(d, 1, '5') over (order by id) from fz_doms`,
  `select array_position(ds, '4') from fz_doms`,
  `select array_replace(ds, 'ok', '4') from fz_doms`,
  `select name === '4' from public_products order by 1`,
  `select id from customers where name operator(public.===) '5' order by 1`,
  `table fz_keys`,
  `select * from fz_keys order by id`,
  `select card, late from fz_keys order by card, late`,
  `prepare fuzz as select card, md5(late) from fz_keys order by id; execute fuzz; deallocate fuzz`,
  `explain select * from fz_keys where card like '4%'`,
  `explain (costs off, verbose) execute fuzz`,
  `do $$ begin raise notice '%', fz_stolen(); end $$`,
  `copy fz_keys to stdout`,
  `copy fz_keys (card, late) to stdout with (header)`,
  `declare c cursor with hold for select card from fz_keys; fetch all from c; close c`,
];

/** Tables that can be written: id, n and label, and what comes of it. */
const written = ['fz_arr', 'fz_log', 'fz_sized', 'fz_trig', 'fz_born', 'fz_part', 'fz_keys', 'fz_ref', 'fz_child', 'fz_after'];

export class Generator {
  readonly #dice: Dice;

  constructor(seed: number) {
    this.#dice = new Dice(seed);
  }

  statement(): string {
    const dice = this.#dice;
    const query = this.#query();
    switch (dice.below(16)) {
      case 0:
        return `copy (${query}) to stdout`;
      case 1:
        return `explain ${dice.one(['', 'verbose ', '(costs off) '])}${query}`;
      case 2:
        return `begin; declare c cursor for ${query}; fetch all from c; rollback`;
      case 3:
        return `prepare fuzz as ${query}; execute fuzz; deallocate fuzz`;
      case 4:
        return this.#write();
      case 6:
      case 7:
        return this.#ownWrite();
      case 8:
        return dice.one(directs);
      case 5:
        return `copy ${dice.one(['customers', 'orders', 'staff', 'customers (id, card_number)', 'scratch'])} to stdout`;
      default:
        return query;
    }
  }

  #query(): string {
    const dice = this.#dice;
    const table = dice.one(tables);
    const t = (masked = 60) => `t.${this.#column(table, masked)}`;
    const value = () => this.#expression(t);
    switch (dice.below(14)) {
      case 0:
        return `select ${dice.one(['t.*', '*', 't', 't::text', 'to_jsonb(t)', 'row_to_json(t)', 'hstore(t)', '(t).*'])} from ${table.name} t order by ${t(0)} limit 5`;
      case 1:
        return `select count(*) from ${table.name} t where ${value()}::text ${dice.one(['like', '~', '<', '>=', '=', 'similar to'])} '${dice.one(['4%', '^4', '5', '************1111', '[redacted]', '%1111', '4929'])}'`;
      case 2:
        return `select t.id from ${table.name} t order by ${value()}, t.id`;
      case 3:
        return `select ${value()} as x, count(*) from ${table.name} t group by 1 order by 1`;
      case 4:
        return `select t.id, rank() over (partition by ${t()} order by ${value()}) from ${table.name} t order by 1, 2`;
      case 5:
        return `select string_agg(${value()}::text, ',' order by t.id), max(${value()}::text) filter (where ${t()} is not null) from ${table.name} t`;
      case 6:
        return `with ${dice.one(['q', 'customers', 'orders'])} as (select ${value()} as x, t.id from ${table.name} t) select q.x from ${dice.one(['q', 'customers', 'orders'])} q order by q.id`;
      case 7:
        return `select a.id from ${table.name} a join ${dice.one(tables).name} b on a.${this.#column(table, 50)}::text = ${dice.one(['b.id::text', 'b::text', "'4111111111111111'"])} order by 1`;
      case 8:
        return `select * from ${table.name} natural join (select ${this.#column(table, 70)} from ${table.name}) n limit 5`;
      case 9:
        return `select (select ${value()} from ${table.name} t order by ${t()} limit 1) = ${dice.one(["'x'", "'4'", 'null'])}`;
      case 10:
        return `select ${value()} from ${table.name} t ${dice.one(['union', 'except', 'intersect', 'union all'])} select null order by 1`;
      case 11:
        return `select t.id, x.y from ${table.name} t cross join lateral (select ${value()} as y) x order by 1`;
      case 12:
        return `select generate_series(1, length(${value()}::text)) from ${table.name} t`;
      default:
        return `select ${dice.chance(30) ? 'distinct ' : ''}${value()} as x from ${table.name} t where ${t(20)} is not null order by 1 limit ${dice.below(4)}`;
    }
  }

  #column({ masked, clean }: Table, percent: number): string {
    return masked.length > 0 && this.#dice.chance(percent) ? this.#dice.one(masked) : this.#dice.one(clean);
  }

  #expression(column: () => string, depth = 0): string {
    const dice = this.#dice;
    const inner = () => (depth > 2 || dice.chance(50) ? column() : this.#expression(column, depth + 1));
    const text = () => `${inner()}::text`;
    switch (dice.below(22)) {
      case 0:
        return `reverse(${text()})`;
      case 1:
        return `substr(${text()}, ${dice.below(6)}, ${1 + dice.below(8)})`;
      case 2:
        return `md5(${text()})`;
      case 3:
        return `encode(convert_to(${text()}, 'UTF8'), '${dice.one(['hex', 'base64'])}')`;
      case 4:
        return `${text()}::${dice.one(['int', 'bigint', 'date', 'uuid', 'numeric', 'jsonb', 'inet', 'interval', 'regclass', 'xml', 'int[]'])}`;
      case 5:
        return `case when ${text()} > '${dice.one(['4', '41', '5'])}' then 1 / 0 else 1 end`;
      case 6:
        return `regexp_replace(${text()}, '(.)(.*)', '\\2\\1')`;
      case 7:
        return `ascii(substr(${text()}, ${1 + dice.below(4)}, 1))`;
      case 8:
        return `length(${text()}) + ${dice.below(3)}`;
      case 9:
        return `to_jsonb(${inner()}) #>> '{}'`;
      case 10:
        return `coalesce(${text()}, ${text()})`;
      case 11:
        return `(${text()} || ${text()})`;
      case 12:
        return `array[${text()}, 'x']`;
      case 13:
        return `hashtext(${text()})`;
      case 14:
        return `make_date(2000 + length(${text()}), 13, 1)`;
      case 15:
        return `current_setting(${text()}, true)`;
      case 16:
        return `query_to_xml('select ' || quote_literal(${text()}), true, false, '')`;
      case 17:
        return `format('%s', ${inner()})`;
      case 18:
        return `nullif(${text()}, '4111111111111111')`;
      case 19:
        return `${inner()} is distinct from null`;
      default:
        return inner();
    }
  }

  #write(): string {
    const dice = this.#dice;
    const id = dice.one(['1', '2', '99', '1 or true']);
    return dice.one([
      `update customers set name = name || 'x' where id = ${id} returning *`,
      `update customers set country = substr(${dice.one(['card_number', 'name', 'notes'])}, 1, 2) where id = ${id}`,
      `delete from orders where id = 11 and card_number::text like '4%'`,
      `insert into scratch (a) select ${dice.one(['card_number', 'name'])} from customers`,
      `insert into customers (id, name, country, email) values (50 + ${dice.below(9)}, 'f', 'XX', 'ann.ames@mail.test')`,
      `insert into customers (id, name, country) values (${dice.one(['1', '60'])}, 'f', 'XX') returning id, email, card_tail`,
      `update orders set status = (select min(card_number) from customers) where id = 11`,
      `update customers set balance = balance where ssn like '2%' and id = 1`,
    ]);
  }

  /** A write whose parts are each harmless or not by chance. */
  #ownWrite(): string {
    const dice = this.#dice;
    const table = dice.one(written);
    const own = table === 'fz_arr' ? ['n', 'label', 'arr'] : table === 'fz_log' ? ['n', 'label', 'what'] : table === 'fz_keys' ? ['n', 'label', 'region', 'card', 'late'] : ['n', 'label'];
    const column = () => (dice.chance(80) ? dice.one(own.slice(0, 2)) : dice.one(own));
    const id = () => String(1 + dice.below(24));
    const where = () => `where id = ${id()}${dice.chance(25) ? ` and ${this.#condition(own)}` : ''}${dice.chance(5) ? ' or true' : ''}`;
    const returning = () => (dice.chance(60) ? '' : ` returning ${dice.one(['*', 'id', column(), `${column()} as x`, `md5(${dice.one(own)}::text)`, `${dice.one(own)}::text || ''`, table, `(${this.#secret()})`])}`);
    const set = () => (dice.chance(15) ? `(n, label) = ${dice.one([`(default, 'y')`, `row (6, default)`, `(select 7, 'z')`, `(7, ${this.#value('label')})`])}` : this.#assignment(column()));
    switch (dice.below(4)) {
      case 0:
        return `update ${table} set ${set()} ${where()}${returning()}`;
      case 1:
        return `delete from ${table} ${where()}${returning()}`;
      default:
        return this.#insert(table, column(), `${dice.chance(30) ? ` on conflict (id${table === 'fz_part' ? ', n' : ''}) do ${dice.chance(25) ? 'nothing' : `update set ${set()}${dice.chance(20) ? ` where ${this.#condition(own)}` : ''}`}` : ''}${returning()}`);
    }
  }

  #insert(table: string, column: string, rest: string): string {
    const dice = this.#dice;
    if (dice.chance(5)) return `insert into ${table} default values${rest}`;
    const target = column === 'arr' && dice.chance(70) ? `arr[${dice.one(['2', `(${this.#secret()})::int % 9`, `length(fz_stolen())`])}]` : column;
    const row = () => `(${table !== 'fz_sized' && dice.chance(95) ? String(1 + this.#dice.below(60)) : 'default'}, ${target === 'arr[2]' ? '9' : this.#value(column)})`;
    const rows = dice.chance(30) ? `${row()}, ${row()}` : row();
    const tail = dice.chance(12) ? dice.one([` limit 1`, ` limit (select length(${this.#secret()}) - 15)`, ` order by (${this.#secret()}) limit 1`, ` offset ascii(${this.#secret()}) - 52`]) : '';
    if (dice.chance(10)) return `insert into ${table} (id, label) select 70 + ${dice.below(9)}, ${this.#secret()}${rest}`;
    return `insert into ${table} (id, ${target}) values ${rows}${tail}${rest}`;
  }

  #assignment(column: string): string {
    const dice = this.#dice;
    if (column === 'arr' && dice.chance(60)) return `arr[${dice.one(['1', 'length(fz_stolen())', `ascii(${this.#secret()})`])}] = 3`;
    return `${column} = ${this.#value(column)}`;
  }

  #value(column: string): string {
    const dice = this.#dice;
    if (dice.chance(20)) return 'default';
    if (dice.chance(12)) return column === 'n' ? `length((${this.#secret()})::text)` : column === 'arr' ? `array[ascii((${this.#secret()})::text)]` : `(${this.#secret()})::text`;
    if (column === 'n') return String(dice.below(9));
    if (column === 'arr') return `'{7}'`;
    return dice.one([`'4111111111111111'`, `'4929000000006'`, `'new'`, `'label 1'`, `'US'`, `'DE'`, `'XX'`, `'FR'`, `'************1111'`]);
  }

  #condition(own: readonly string[]): string {
    const dice = this.#dice;
    return dice.one([`${dice.one(own)}::text like '4%'`, `length((${this.#secret()})::text) > ${dice.below(20)}`, `n < ${dice.below(9)}`, `fz_peek('4')`]);
  }

  /** An expression without parentheses of its own that has something of a masked value. */
  #secret(): string {
    return this.#dice.one([
      `(select card_number::text from customers where id = 1)`,
      `(select min(card) from fz_keys)`,
      `fz_stolen()`,
      `(select late from fz_keys limit 1)`,
      `(select ssn::text from people order by ssn limit 1)`,
    ]);
  }
}
