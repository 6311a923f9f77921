/** Two databases with the same sample: one where an unrestricted role shows what an attack does, one where policy must stop it. */
import { Client } from 'pg';
import { serialize } from 'pg-protocol';
import { RawClient } from './raw-client.ts';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

export const policy = `
auditors: [audit]
approvers:
  dbas: { groups: [dba] }
targets:
  lab:
    roles:
      open: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 8h }
  guarded:
    roles:
      reader: { preset: read-only, groups: [engineering] }
      engineer: { preset: engineer, groups: [engineering], approvers: [dbas] }
      migration: { preset: ci-migration, groups: [engineering], approvers: [dbas] }
      careful:
        groups: [engineering]
        maxDuration: 8h
        rules:
          - { name: secret, effect: deny, tables: [public.secret], reason: not yours }
          - { name: reads, effect: allow, kinds: [read] }
          - { name: wide, effect: hold, kinds: [write], bounded: false, approval: { by: [dbas] } }
          - { name: writes, effect: allow, kinds: [read, write] }
      narrow:
        groups: [engineering]
        maxDuration: 8h
        rules:
          - { name: items, effect: allow, kinds: [read, write], tables: [public.items, public.items_seq] }
          - { name: rest, effect: deny, tables: ['*'] }
      limited: { groups: [engineering], allow: [read, write], rowsMax: { read: 10, write: 5 }, maxDuration: 8h }
`;

const sample = `
create table items (id int primary key, name text not null, code int unique);
insert into items select n, 'item ' || n, case when n <= 50 then n end from generate_series(1, 100) n;
create table big (id bigint primary key, name text not null);
insert into big select 1152921504606846976 + n, 'item ' || n from generate_series(0, 99) n;
create table notes (text text);
create table secret (id int primary key, value text);
insert into secret values (1, 'topsecret-1'), (2, 'topsecret-2');
analyze secret;
create sequence items_seq; create sequence secret_seq;
create table parents (id int primary key, name text); create table children (id int primary key, parent int references parents on delete cascade);
insert into parents values (1, 'p'); insert into children select n, 1 from generate_series(1, 50) n;
create table ruled (id int primary key, name text);
create rule spread as on insert to ruled do also delete from items;
create table watched (id int primary key, name text);
create table inherited (id int primary key, name text); create table heir (primary key (id)) inherits (inherited);
insert into inherited values (1, 'a'); insert into heir select 1, 'b';
create function purge() returns int language plpgsql as $$ begin delete from items where id > 50; return 1; end $$;
create function purge_on(anyelement) returns boolean language plpgsql as $$ begin delete from items where id > 50; return true; end $$;
create function pure(int) returns int language plpgsql immutable as $$ begin perform purge(); return 1; end $$;
create function on_row() returns trigger language plpgsql as $$ begin delete from items where id > 50; return new; end $$;
create trigger watch before insert on watched for each row execute function on_row();
create function set_setting(setting text, value text) returns text language sql as 'select set_config(setting, value, false)';
create domain touchy as int check (purge_on(value));
create domain touchier as touchy;
create type wrapped as (one touchy);
create table wrapping (id int primary key, one wrapped, many touchy[]);
create function purge_both(int, int) returns boolean language sql as 'select purge_on($1)';
create operator ### (leftarg = int, rightarg = int, function = purge_both);
create view all_items as select * from items;
create view secret_view as select value from secret;
create view settings_view as select name, setting from pg_settings;
create view hashes as select rolname, rolpassword from pg_authid;
create view purging as select purge() as n;
`;

export type Step = string | { readonly bytes: Buffer; readonly readies: number };

/** Of the extended protocol. */
export const parse = (name: string, text: string, types: number[] = []) => serialize.parse({ name, text, types });
export const bind = (portal: string, statement: string, values: (string | null)[] = []) => serialize.bind({ portal, statement, values });
export const execute = (portal = '', rows = 0) => serialize.execute({ portal, rows });
export const close = (type: 'S' | 'P', name: string) => serialize.close({ type, name });
export const sync = serialize.sync();
export const segment = (...parts: Buffer[]): Step => ({ bytes: Buffer.concat([...parts, sync]), readies: 1 });
export const together = (...texts: string[]): Step => ({ bytes: Buffer.concat(texts.map((text) => serialize.query(text))), readies: texts.length });

export class Stage {
  readonly #tunnels = new Map<string, Promise<OpenTunnel>>();

  private constructor(readonly fixture: RelayFixture) {}

  static async open(): Promise<Stage> {
    const port = '{ host: 127.0.0.1, port: @PORT@, user: gate_relay, passwordFile: ./password, tls: disable';
    const fixture = await startRelayFixture({
      policy,
      targets: `  lab: ${port}, database: lab }\n  guarded: ${port}, database: guarded }`,
    });
    await fixture.admin.query('create database seed');
    const seed = await connectTo(fixture, 'seed');
    await seed.query(sample);
    await seed.end();
    await fixture.admin.query('create database guarded template seed');
    return new Stage(fixture);
  }

  async renew(database: 'lab' | 'guarded'): Promise<void> {
    await this.fixture.admin.query(`drop database if exists ${database} with (force)`);
    await this.fixture.admin.query(`create database ${database} template seed`);
  }

  /** Sends the steps one after another, and answers all that came back; held statements are not waited for. */
  async play(database: 'lab' | 'guarded', role: string, steps: readonly Step[]): Promise<{ replies: string[]; raw: string }> {
    const tunnel = await this.tunnel(database, role);
    const client = await RawClient.logIn(tunnel.port, tunnel.session);
    const chunks: Buffer[] = [];
    client.socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const replies: string[] = [];
    for (const step of steps) {
      const { bytes, readies } = typeof step === 'string' ? { bytes: serialize.query(step), readies: 1 } : step;
      client.send(bytes);
      replies.push(...(await client.upToReady(readies).catch(async () => [...(await client.untilClosed()), 'closed'])));
      if (client.isClosed) break;
    }
    client.close();
    return { replies, raw: Buffer.concat(chunks).toString('latin1') };
  }

  /** One session for each role; it does not wait for approvals. */
  tunnel(database: string, role: string): Promise<OpenTunnel> {
    const known = this.#tunnels.get(role);
    if (known !== undefined) return known;
    const tunnel = this.fixture.connect('engineer', role, undefined, database, 0);
    this.#tunnels.set(role, tunnel);
    return tunnel;
  }

  async ask(database: string, question: string): Promise<boolean> {
    const client = await connectTo(this.fixture, database);
    const { rows } = await client.query<{ yes: boolean }>(`select (${question}) as yes`);
    await client.end();
    return rows[0]?.yes === true;
  }
}

async function connectTo(fixture: RelayFixture, database: string): Promise<Client> {
  const client = new Client({ connectionString: fixture.postgres.url(database) });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
