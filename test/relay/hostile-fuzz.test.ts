/** Mutated streams of clients and of servers, from a seed: cut where they must be, never a crash, nothing unrecorded. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startLocalPort, type LocalPort } from '../../src/client/local-port.ts';
import { openSession, type OpenSession } from '../../src/client/session.ts';
import { eventually, fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';
import { RelayChild } from './relay-child.ts';

const child = new RelayChild();
const seed = Number(process.env['FUZZ_SEED'] ?? 20_26);
const rounds = Number(process.env['FUZZ_ROUNDS'] ?? 300);
const width = 8;

let fixture: RelayFixture;
let fake: Server;
let behave: (socket: Socket) => void = () => undefined;

beforeAll(async () => {
  fake = createServer((socket) => {
    socket.on('error', () => undefined);
    behave(socket);
  });
  fake.listen(0, '127.0.0.1');
  await once(fake, 'listening');
  const { port } = fake.address() as AddressInfo;
  fixture = await startRelayFixture({
    start: child.start,
    targets: `  fake-db: { host: 127.0.0.1, port: ${port}, database: fake, user: fake, passwordFile: ./password, tls: disable }\n`,
    policy: `${fixturePolicy}  fake-db:\n    roles:\n      all: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 1h }\n`,
  });
});
afterAll(async () => {
  fake.close();
  await fixture?.[Symbol.asyncDispose]();
});

type Random = () => number;

/** mulberry32: small, and the same everywhere. */
function createRandom(from: number): Random {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function mutate(bytes: Buffer, random: Random): Buffer {
  let out = Buffer.from(bytes);
  const at = () => Math.floor(random() * out.length);
  for (let times = 1 + Math.floor(random() * 4); times > 0; times--) {
    switch (Math.floor(random() * 7)) {
      case 0:
        out[at()] = Math.floor(random() * 256);
        break;
      case 1:
        out[at()] = (out[at()] ?? 0) ^ (1 << Math.floor(random() * 8));
        break;
      case 2:
        out = out.subarray(0, Math.max(1, at()));
        break;
      case 3: {
        const cut = at();
        out = Buffer.concat([out.subarray(0, cut), out.subarray(cut + 1 + Math.floor(random() * 8))]);
        break;
      }
      case 4: {
        const from = at();
        out = Buffer.concat([out, out.subarray(from, from + Math.floor(random() * 64))]);
        break;
      }
      case 5: {
        const where = at();
        if (where + 4 <= out.length) out.writeUInt32BE([0, 3, 4, 5, 0xffff, 0x7fffffff, 0xffffffff][Math.floor(random() * 7)] as number, where);
        break;
      }
      default: {
        const where = at();
        out = Buffer.concat([out.subarray(0, where), Buffer.from([0, 0x53, 0, 0, 0, 4]), out.subarray(where)]);
      }
    }
    if (out.length === 0) out = Buffer.from([0]);
  }
  return out;
}

async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** Sends bytes in two pieces and leaves when the other side has closed or has no more to say. */
async function sendAndLeave(client: RawClient, bytes: Buffer, random: Random): Promise<void> {
  const cut = Math.floor(random() * bytes.length);
  client.send(bytes.subarray(0, cut));
  client.send(bytes.subarray(cut));
  let seen = -1;
  while (!client.isClosed && client.replies.length > seen) {
    seen = client.replies.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  client.close();
  await client.untilClosed();
}

describe(`mutated client streams (seed ${seed})`, () => {
  test('after login: the relay lives, and whatever the database ran is on record', async () => {
    const tunnel = await fixture.connect();
    const sync = serialize.sync();
    const stream = (n: number) =>
      Buffer.concat([
        serialize.query(`select 'fuzz-${n}-a'`),
        serialize.parse({ name: 's', text: `select 'fuzz-${n}-b', $1::int` }),
        serialize.bind({ statement: 's', portal: 'p', values: ['1'] }),
        serialize.describe({ type: 'P', name: 'p' }),
        serialize.execute({ portal: 'p', rows: 0 }),
        sync,
        serialize.query(`copy items (id, name) from stdin -- fuzz-${n}-c`),
        serialize.copyData(Buffer.from('x\n')),
        serialize.copyDone(),
        serialize.parse({ text: `select 'fuzz-${n}-d'` }),
        serialize.bind({}),
        serialize.execute({}),
        serialize.close({ type: 'S', name: 's' }),
        serialize.flush(),
        sync,
      ]);
    const before = (await child.memory()).now;
    await inParallel(rounds, async (n) => {
      const random = createRandom(seed + n);
      const client = await RawClient.logIn(tunnel.port, tunnel.session);
      await sendAndLeave(client, mutate(stream(n), random), random);
    });
    expect(child.isAlive).toBe(true);
    expect((await child.memory()).peak - before).toBeLessThan(256_000_000);
    const client = await tunnel.client();
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await eventually('every intent has its outcome', async () => {
      const events = (await fixture.entries(tunnel.session.id)).map(({ event }) => event);
      const count = (kind: string) => events.filter((event) => event.kind === kind).length;
      const allowed = events.filter((event) => event.kind === 'statement' && event.effect === 'allow').length;
      return count('outcome') === allowed;
    });
    const recorded = new Set<string>();
    for (const { event } of await fixture.entries(tunnel.session.id)) {
      if (event.kind === 'statement') recorded.add(event.sql.split('\n')[0] as string);
    }
    const log = await readFile(fixture.postgres.logFile, 'utf8');
    const ran = [...log.matchAll(/LOG: {2}(?:statement|execute [^:]*): (.*fuzz-.*)$/gm)].map(([, sql]) => sql as string);
    expect(ran.length).toBeGreaterThan(rounds / 4);
    expect(ran.filter((sql) => !recorded.has(sql))).toEqual([]);
  }, 300_000);

  test('in the login: nobody gets in, and nothing breaks', async () => {
    const tunnel = await fixture.connect();
    const start = serialize.startup({ user: tunnel.session.user, database: tunnel.session.database });
    const stream = Buffer.concat([
      Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]),
      start,
      serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', 'n,,n=,r=abcdefghijklmnopqrstuvwx'),
      serialize.sendSCRAMClientFinalMessage('c=biws,r=abc,p=abc='),
    ]);
    await inParallel(rounds, async (n) => {
      const random = createRandom(seed * 31 + n);
      const client = await RawClient.open(tunnel.port);
      const from = random() < 0.8 ? 8 : 0;
      await sendAndLeave(client, mutate(stream.subarray(from), random), random);
    });
    const opened = (await fixture.entries(tunnel.session.id)).filter(({ event }) => event.kind === 'connection.open');
    expect(opened).toEqual([]);
    await (await tunnel.client()).query('select 1');
  }, 300_000);
});

describe(`a hostile database (seed ${seed})`, () => {
  const message = (type: string, body: Buffer | string = '', length?: number) => {
    const bytes = Buffer.from(body);
    const head = Buffer.alloc(5);
    head.write(type, 'latin1');
    head.writeUInt32BE((length ?? bytes.length + 4) >>> 0, 1);
    return Buffer.concat([head, bytes]);
  };
  const parameter = (name: string, value: string) => message('S', `${name}\0${value}\0`);
  const ready = message('Z', 'I');
  const greeting = Buffer.concat([
    message('R', Buffer.alloc(4)),
    parameter('server_version', '18.0'),
    parameter('client_encoding', 'UTF8'),
    parameter('standard_conforming_strings', 'on'),
    message('K', Buffer.from([0, 0, 0, 9, 1, 2, 3, 4])),
    ready,
  ]);
  const rowDescription = message('T', Buffer.concat([Buffer.from([0, 1]), Buffer.from('a\0'), Buffer.alloc(18)]));
  const row = message('D', Buffer.from([0, 1, 0, 0, 0, 1, 0x31]));
  const answer = Buffer.concat([
    message('N', 'SNOTICE\0VNOTICE\0C00000\0Mhello\0\0'),
    rowDescription,
    row,
    row,
    message('C', 'SELECT 2\0'),
    parameter('TimeZone', 'UTC'),
    ready,
  ]);
  const failure = Buffer.concat([message('E', 'SERROR\0VERROR\0C22012\0Mdivision by zero\0\0'), ready]);

  /** Logs in whoever comes, then answers everything that is sent with these bytes and, if asked, goes away. */
  function speak(reply: () => Buffer, welcome = greeting, isLeaving = true): void {
    behave = (socket) => {
      let isIn = false;
      socket.on('data', (chunk: Buffer) => {
        if (chunk.readUInt32BE(0) === 16 && chunk.readUInt32BE(4) === 80877102) return void socket.end();
        if (!isIn) {
          isIn = true;
          return void socket.write(welcome);
        }
        socket.write(reply());
        if (isLeaving) socket.end();
      });
    };
  }

  let session: OpenSession;
  let port: LocalPort;
  beforeAll(async () => {
    const client = await fixture.clientFor('engineer');
    session = await openSession(client, 'connect', { target: 'fake-db' });
    port = await startLocalPort({
      relay: client.url,
      session: session.id,
      accessToken: () => client.accessToken(),
      listen: { port: 0 },
      onBroken: () => undefined,
    });
  });
  afterAll(() => port?.close());

  async function ask(): Promise<string[]> {
    // A connection whose database does not answer counts until its end is on record, so the session's limit is met here.
    const client = await RawClient.logIn(port, session).catch(async (error: Error) => {
      if (!error.message.includes('too-many')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
      return undefined;
    });
    if (client === undefined) return ask();
    client.send(serialize.query('select 1'));
    return client.untilClosed();
  }

  test('the honest one is understood', async () => {
    speak(() => answer);
    expect((await ask()).slice(0, 7)).toEqual(['N', 'T', 'D', 'D', 'C:SELECT 2', 'S', 'Z:I']);
  });

  test('mutated answers are cut or passed, and the relay lives', async () => {
    let turn = 0;
    speak(() => {
      const random = createRandom(seed * 17 + turn++);
      return mutate(random() < 0.7 ? answer : failure, random);
    });
    const before = (await child.memory()).now;
    await inParallel(rounds, async () => void (await ask()));
    expect(turn).toBeGreaterThanOrEqual(rounds);
    expect(child.isAlive).toBe(true);
    expect((await child.memory()).peak - before).toBeLessThan(256_000_000);
  }, 300_000);

  test('mutated greetings fail the login, and the relay lives', async () => {
    let turn = 0;
    behave = (socket) => {
      socket.once('data', () => {
        socket.end(mutate(greeting, createRandom(seed * 13 + turn++)));
      });
    };
    await inParallel(Math.ceil(rounds / 4), async () => {
      const error = await ask().catch((reason: Error) => reason.message);
      // Whatever it is told, nobody is left waiting for a server that has gone.
      expect(error).not.toContain('waited in vain');
    });
    expect(child.isAlive).toBe(true);
    speak(() => answer);
    expect(await ask()).toContain('Z:I');
  }, 300_000);

  test.each([
    ['rows that nobody asked for', Buffer.concat([ready, row])],
    ['a key after the login', message('K', Buffer.alloc(8))],
    ['authentication after the login', message('R', Buffer.alloc(4))],
    ['a function result', message('V', Buffer.from([0xff, 0xff, 0xff, 0xff]))],
    ['replication', message('W', Buffer.from([0, 0, 0]))],
    ['an unknown message', message('~')],
    ['a description of 2 GiB', message('T', '', 0x7fffffff)],
    ['a length of 3', message('T', '', 3)],
    ['a setting that is pinned', parameter('standard_conforming_strings', 'off')],
    ['a ReadyForQuery that is none', message('Z', 'X')],
    ['an error that is none', message('E', 'garbage')],
  ])('%s: the connection is cut, with the reason', async (_, bytes) => {
    speak(() => bytes, greeting, false);
    const replies = await ask();
    expect(replies.at(-1)).toMatch(/^E:(08P01|42501)/);
    expect(replies).not.toContain('R');
    expect(replies).not.toContain('K');
  });

  test.each([
    ['asks for the password in clear text', message('R', Buffer.from([0, 0, 0, 3]))],
    ['asks for 10,000,000 rounds of SCRAM', message('R', Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.from('SCRAM-SHA-256\0\0')]))],
    ['asks for Kerberos', message('R', Buffer.from([0, 0, 0, 7]))],
    ['refuses without a code', message('E', 'SFATAL\0Mno\0\0')],
    ['is ready at once', ready],
    ['sends 64 KiB and one byte in a message', message('S', Buffer.alloc(64 * 1024 + 1))],
    ['speaks HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ])('a server that %s: the login fails with a clear error and without the password', async (what, bytes) => {
    const heard: Buffer[] = [];
    behave = (socket) => {
      socket.on('data', (chunk: Buffer) => {
        heard.push(chunk);
        const nonce = /r=([^,\0]+)/.exec(chunk.toString('latin1'))?.[1];
        if (nonce === undefined || !what.includes('SCRAM')) socket.write(bytes);
        else socket.write(message('R', Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from(`r=${nonce}more,s=AAAAAAAAAAAAAAAAAAAAAA==,i=10000000`)])));
      });
    };
    await expect(RawClient.logIn(port, session)).rejects.toThrow(/E:08(P01:upstream-protocol|001:upstream-unreachable)/);
    expect(Buffer.concat(heard).toString('latin1')).not.toContain('upstream-canary');
  });

  test.each([
    ['settings', (n: number) => parameter(`setting_${n}`, 'x'.repeat(1000))],
    ['notices', () => message('N', `SNOTICE\0VNOTICE\0C00000\0M${'x'.repeat(1000)}\0\0`)],
    [
      'rounds of SCRAM',
      (n: number) =>
        message(
          'R',
          n === 0
            ? Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.from('SCRAM-SHA-256\0\0')])
            : Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('r=x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=100000')]),
        ),
    ],
  ])('a server that sends %s without end during the login: given up in bounded memory, while others are served', async (_, next) => {
    const before = (await child.memory()).now;
    behave = (socket) => {
      let sent = 0;
      const flood = () => {
        while (!socket.destroyed && socket.write(Buffer.concat(Array.from({ length: 100 }, () => next(sent++)))));
      };
      socket.on('drain', flood);
      socket.once('data', flood);
    };
    const failed = RawClient.logIn(port, session).then(
      () => 'logged in',
      (error: Error) => error.message,
    );
    const tunnel = await fixture.connect();
    expect((await (await tunnel.client()).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(await failed).toMatch(/E:08/);
    expect((await child.memory()).peak - before).toBeLessThan(256_000_000);
  }, 60_000);
});

