/** Two databases that differ in masked columns only, one relay over both, and what a client is sent from each. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { serialize } from 'pg-protocol';
import type { OpenSession } from '../../src/client/session.ts';
import { decodeReport } from '../../src/pgwire/backend.ts';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient, type Address, type Reply } from './raw-client.ts';

export type World = 'a' | 'b';
export const worlds = ['a', 'b'] as const;
/** Roles of the sample schema that stand behind the relay. */
export const credentials = ['full', 'owner', 'super'] as const;
export type Credential = (typeof credentials)[number];

const password = 'upstream-canary-7261';

/** The masks of the sample: what the masked images of both worlds agree in. */
const masks = `
    masks:
      rules:
        - { name: cards, columns: [public.customers.card_number, public.orders.card_number, public.payments.pan, public.fz_keys.card, public.fz_keys.late], mask: { partial: { last: 4 } } }
        - { name: email, columns: [public.customers.email], mask: redact }
        - { name: ssn, columns: [public.customers.ssn, public.people.ssn], mask: redact }
        - { name: hidden, columns: [public.customers.pin, public.customers.profile, public.customers.reach, public.customers.tags, public.customers.notes, public.audit_note.msg], mask: "null" }
        - { name: declared, columns: ["public.v_masked.*"], mask: clear }
        - { name: rest, columns: [public.customers.id, public.customers.name, public.customers.country, public.customers.balance, public.customers.created_at, "public.orders.*", "public.payments.*", "public.people.*", "public.staff.*", "public.audit_note.*", public.fz_keys.id, public.fz_keys.n, public.fz_keys.label, public.fz_keys.region], mask: clear }
`;
export const maskedPolicy = `
auditors: [audit]
targets:
${worlds
  .flatMap((world) => credentials.map((credential) => `  ${world}-${credential}:${masks}    roles:\n      everything: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 8h }`))
  .join('\n')}
`;

export type Stage = {
  readonly fixture: RelayFixture;
  /** Makes both databases anew. */
  renew(): Promise<void>;
  /** As superuser in one world. */
  admin(world: World, statements: readonly string[]): Promise<void>;
  ask(world: World, sql: string): Promise<unknown>;
  /** Through the relay, as a principal with masks. */
  tunnel(world: World, credential: Credential): Promise<OpenTunnel>;
  /** Past the relay. */
  direct(world: World, credential: Credential): { address: Address; login: { user: string; database: string; password: string } };
  [Symbol.asyncDispose](): Promise<void>;
};

export async function startMaskStage(policy = maskedPolicy): Promise<Stage> {
  const targets = worlds.flatMap((world) =>
    credentials.map((credential) => `  ${world}-${credential}: { host: 127.0.0.1, port: @PORT@, database: world_${world}, user: gate_${credential}, passwordFile: ./password, tls: disable }\n`),
  );
  const fixture = await startRelayFixture({ policy, targets: targets.join('') });
  const connect = async (database: string) => {
    const client = new Client({ connectionString: fixture.postgres.url(database) });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  const run = async (database: string, statements: readonly string[]) => {
    const client = await connect(database);
    try {
      const rows: unknown[] = [];
      for (const sql of statements) rows.push(...((await client.query(sql)) as { rows?: unknown[] }).rows ?? []);
      return rows;
    } finally {
      await client.end();
    }
  };
  const schema = await readSchema();
  for (const world of worlds) {
    await fixture.admin.query(`create database template_${world}`);
    await run(`template_${world}`, [schema(world, `template_${world}`)]);
  }
  for (const role of ['full', 'owner', 'masked', 'super']) await fixture.admin.query(`alter role gate_${role} password '${password}'`);
  const tunnels = new Map<string, Promise<OpenTunnel>>();
  const renew = async () => {
    for (const world of worlds) {
      await fixture.admin.query(`drop database if exists world_${world} with (force)`);
      await fixture.admin.query(`create database world_${world} template template_${world}`);
    }
  };
  await renew();
  return {
    fixture,
    renew,
    admin: async (world, statements) => {
      const fill = (sql: string) => sql.replaceAll('@DB@', `world_${world}`).replaceAll('@PORT@', String(fixture.postgres.port));
      await run(`world_${world}`, statements.map(fill));
    },
    ask: async (world, sql) => Object.values((await run(`world_${world}`, [sql]))[0] as object)[0],
    tunnel: (world, credential) => {
      const name = `${world}-${credential}`;
      const known = tunnels.get(name) ?? fixture.connect('engineer', 'everything', undefined, name);
      tunnels.set(name, known);
      return known;
    },
    direct: (world, credential) => ({
      address: { host: '127.0.0.1', port: fixture.postgres.port },
      login: { user: `gate_${credential}`, database: `world_${world}`, password },
    }),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
}

/** The schema is a psql script; of its language only the choice between the worlds is needed. */
async function readSchema(): Promise<(world: World, database: string) => string> {
  const text = await readFile(join(import.meta.dirname, 'testdata', 'evasions-schema.sql'), 'utf8');
  return (world, database) => {
    const [before = '', forB = '', rest = ''] = text.split(/^SELECT :'world' = 'B' AS is_b \\gset\n\\if :is_b\n|^\\else\n/m).slice(0, 3);
    const [forA = '', after = ''] = rest.split(/^\\endif\n/m);
    return [before, world === 'b' ? forB : forA, after].join('').replaceAll(/^\\.*$/gm, '').replaceAll(':"DBNAME"', database).replaceAll(':DBNAME', database);
  };
}

/** What is sent to one client, as text: what differs between any two databases is left out. */
export function show({ type, bytes }: Reply): string {
  if (type === 'E' || type === 'N') {
    const fields = [...decodeReport(bytes)].filter(([code]) => !['L', 'F', 'R'].includes(code));
    return `${type} ${fields.map(([code, value]) => `${code}=${withoutNames(value)}`).join(' ')}`;
  }
  // Table OIDs differ; names, types and formats do not.
  if (type === 'T') return `T ${columnNames(bytes).join(',')}`;
  if (type === 'K') return 'K';
  return `${type} ${withoutNames(bytes.subarray(5).toString('latin1'))}`;
}

function withoutNames(text: string): string {
  return text.replaceAll(/world_[ab]/g, 'world').replaceAll(/\b[ab]-(full|owner|super)\b/g, '$1');
}

function columnNames(bytes: Buffer): string[] {
  const names: string[] = [];
  let at = 7;
  for (let left = bytes.readUInt16BE(5); left > 0; left--) {
    const end = bytes.indexOf(0, at);
    names.push(`${bytes.toString('utf8', at, end)}:${bytes.readUInt16BE(end + 15)}`);
    at = end + 19;
  }
  return names;
}

export type Step = string | readonly unknown[];

/** Runs the steps of a case; answers all that was sent, of all connections in turn. */
export async function playSteps(steps: readonly Step[], open: () => Promise<RawClient>, fill: (text: string) => string): Promise<string[]> {
  const clients = new Map<string, RawClient>([['a', await open()]]);
  const said: string[] = [];
  let current = 'a';
  try {
    for (const step of steps) {
      const client = clients.get(current);
      if (typeof step === 'string') {
        client?.send(serialize.query(fill(step)));
        said.push(...(await settle(client)));
      } else if (step[0] === 'open') {
        // Start-up parameters of their own are tested where the login is.
        if (step.length === 2) clients.set(String(step[1]), await open());
      } else if (step[0] === 'on') current = String(step[1]);
      else if (step[0] === 'sleep') await new Promise((resolve) => setTimeout(resolve, Number(step[1])));
      else if (client !== undefined) {
        const bytes = encodeStep(step, fill);
        if (bytes !== undefined) client.send(bytes);
        if (['S', 'F', 'Qhex', 'vq'].includes(String(step[0]))) said.push(...(await settle(client)));
      }
    }
  } catch (error) {
    said.push(`broken: ${String(error)}`);
  } finally {
    for (const client of clients.values()) {
      said.push(...client.replies.splice(0).map(show));
      client.close();
    }
  }
  return said;
}

async function settle(client: RawClient | undefined): Promise<string[]> {
  if (client === undefined) return [];
  const at = await client.until(() => client.replies.findIndex(({ type }) => type === 'Z' || type === 'G'));
  const replies = client.replies.splice(0, at + 1);
  if (replies.at(-1)?.type === 'G') {
    client.send(serialize.copyFail('no data'));
    return [...replies.map(show), ...(await settle(client))];
  }
  return replies.map(show);
}

function encodeStep([kind, ...rest]: readonly unknown[], fill: (text: string) => string): Buffer | undefined {
  switch (kind) {
    case 'P':
      return serialize.parse({ name: String(rest[0]), text: fill(String(rest[1])) });
    case 'B': {
      const [portal, statement, values = [], , formats = []] = rest as [string, string, string[]?, number[]?, number[]?];
      return serialize.bind({ portal, statement, values, binary: formats.includes(1) });
    }
    case 'D':
      return serialize.describe({ type: rest[0] as 'S' | 'P', name: String(rest[1] ?? '') });
    case 'E':
      return serialize.execute({ portal: String(rest[0] ?? ''), rows: Number(rest[1] ?? 0) });
    case 'C':
      return serialize.close({ type: rest[0] as 'S' | 'P', name: String(rest[1] ?? '') });
    case 'S':
      return serialize.sync();
    case 'F':
      return Buffer.from([0x46, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    case 'Qhex': {
      const body = Buffer.concat([Buffer.from(String(rest[0])), Buffer.from(String(rest[1]), 'hex'), Buffer.from(`${String(rest[2])}\0`)]);
      const head = Buffer.from([0x51, 0, 0, 0, 0]);
      head.writeUInt32BE(body.length + 4, 1);
      return Buffer.concat([head, body]);
    }
    case 'vq':
      return serialize.query(`select 'victim'`);
    default:
      return undefined;
  }
}

export function loginOf(session: OpenSession): { user: string; database: string; password: string } {
  return session;
}
