/** Runs conversations through gate and against the bare server, and compares replies, both views of the state, and the record. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { asyncProperty, check } from 'fast-check';
import { Client } from 'pg';
import { serialize } from 'pg-protocol';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { decodeReport } from '../../src/pgwire/backend.ts';
import { Pending, type Owed } from '../../src/relay/pending.ts';
import type { OpenTunnel, RelayFixture } from './fixture.ts';
import { checkRecord, equal } from './model-record.ts';
import { conversation, namesInUse, type Step } from './model-steps.ts';
import { RawClient, type Reply } from './raw-client.ts';
import { CrashWatch } from './server-crash.ts';

export type ModelOptions = {
  readonly fixture: RelayFixture;
  readonly runs: number;
  readonly seed: number;
  /** Which of the tables is used; runs side by side take different ones. */
  readonly lane: number;
  readonly onRun?: () => void;
  /** Called with each conversation during which the server itself crashed, however often it was tried: it proves nothing. */
  readonly onCrash?: () => void;
  /** Called with each difference that is the server's own; see `compare`. */
  readonly onExcuse?: (kind: Excuse) => void;
  /** Called with each conversation that fails while a shorter one is looked for. */
  readonly onFailure?: (report: string) => void;
};

/** Differences that are the server's own. After `unnamed-dead` and `unnamed-empty` the rest of that conversation is not compared. */
export type Excuse = 'unnamed-dead' | 'unnamed-empty' | 'dead-portal-reply';

const tableName = 'model_0';
/** A conversation that met a crash is held again so often: the crash may have been another lane's. */
const maxAttempts = 3;
/** After so many conversations a new session begins, so that its record stays short enough to be read at once. */
const perSession = 100;

/** The oracle's own database on the same server. */
export async function prepareModel(fixture: RelayFixture, lanes: number): Promise<void> {
  await fixture.admin.query('create database oracle');
  const oracle = new Client({ connectionString: fixture.postgres.url('oracle') });
  await oracle.connect();
  for (let lane = 0; lane < lanes; lane++) {
    for (const client of [fixture.admin, oracle]) await client.query(`create table model_${lane} (n int primary key, v text)`);
  }
  await oracle.end();
}

/** Rejects with the shortest conversation found that tells the two apart. */
export async function runModel(options: ModelOptions): Promise<void> {
  const lane = new Lane(options);
  try {
    const property = asyncProperty(conversation, async (steps) => {
      await lane.converse(steps);
      options.onRun?.();
    });
    const result = await check(property, { numRuns: options.runs, seed: options.seed });
    if (result.failed) throw new Error(`seed ${options.seed}, run ${result.numRuns}: ${lane.shortestFailure}`);
    await lane.checkRecord();
  } finally {
    lane.close();
  }
}

class Lane {
  readonly #options: ModelOptions;
  #tunnel: OpenTunnel | undefined;
  #gate: RawClient | undefined;
  #direct: RawClient | undefined;
  #pending: Pending | undefined;
  readonly #crashes: CrashWatch;
  #count = 0;
  #inSession = 0;
  /** fast-check goes from longer to shorter ones, so this is the last. */
  shortestFailure = '';

  constructor(options: ModelOptions) {
    this.#options = options;
    this.#crashes = new CrashWatch(options.fixture.postgres);
  }

  async converse(steps: readonly Step[], attempt = 1): Promise<void> {
    await this.#crashes.mark();
    try {
      await this.#converse(steps);
    } catch (error) {
      // What is left of a conversation that went wrong must not spoil the next.
      await this.#endSession();
      if (await this.#crashes.hasCrashed()) return attempt < maxAttempts ? this.converse(steps, attempt + 1) : this.#options.onCrash?.();
      const script = steps.map(({ label }) => label).join('\n  ');
      this.shortestFailure = `${error instanceof Error ? error.message : String(error)}\nafter\n  ${script}`;
      this.#options.onFailure?.(this.shortestFailure);
      throw error;
    }
  }

  async #converse(steps: readonly Step[]): Promise<void> {
    const mark = `mark-${this.#options.lane}-${++this.#count}`;
    await this.#open(mark);
    const gate = this.#gate as RawClient;
    const direct = this.#direct as RawClient;
    direct.send(...steps.map((step) => this.#inLane(step.direct)), closing(mark));
    const expected = await upToMark(direct, mark);
    for (const { gate: bytes, pauseMs } of steps) {
      gate.send(this.#inLane(bytes));
      if (pauseMs > 0) await sleep(pauseMs);
    }
    gate.send(closing(mark));
    const actual = await upToMark(gate, mark);
    for (const excuse of compare(actual, expected, gate.isClosed && direct.isClosed)) this.#options.onExcuse?.(excuse);
    if (direct.isClosed || gate.isClosed) return this.#drop();
    await this.#compareNames(actual);
  }

  close(): void {
    this.#drop();
  }

  #drop(): void {
    this.#gate?.close();
    this.#direct?.close();
    this.#gate = undefined;
    this.#direct = undefined;
  }

  /** A new session for the next conversation. */
  async #endSession(): Promise<void> {
    this.#drop();
    const tunnel = this.#tunnel;
    this.#tunnel = undefined;
    if (tunnel === undefined) return;
    await tunnel.port.close();
    await (await this.#options.fixture.clientFor('engineer')).endSession(tunnel.session.id);
  }

  /** Connections are used again, for what one conversation leaves behind must not matter to the next. */
  async #open(mark: string): Promise<void> {
    const { fixture } = this.#options;
    if (this.#tunnel === undefined || this.#inSession >= perSession) {
      await this.checkRecord();
      await this.#endSession();
      this.#tunnel = await fixture.connect();
      this.#inSession = 0;
    }
    this.#inSession++;
    const { port, session } = this.#tunnel;
    const login = { user: 'gate_relay', password: 'upstream-canary-7261', database: 'oracle' };
    this.#direct ??= await RawClient.logIn({ host: fixture.postgres.host, port: fixture.postgres.port }, login);
    const isNew = this.#gate === undefined;
    this.#gate ??= await RawClient.logIn(port, session);
    const reset = this.#inLane(
      Buffer.concat(
        ['rollback', 'discard all', `truncate ${tableName}`, `insert into ${tableName} select n, 'v' || n from generate_series(1, 5) n`, `select 'start of ${mark}'`].map(
          (text) => serialize.query(text),
        ),
      ),
    );
    if (isNew) this.#pending = await pendingOf(this.#gate, mark);
    for (const client of [this.#gate, this.#direct]) {
      client.send(reset);
      await upToMark(client, `start of ${mark}`);
    }
  }

  #inLane(bytes: Buffer): Buffer {
    if (this.#options.lane === 0) return bytes;
    return Buffer.from(bytes.toString('latin1').replaceAll(tableName, `model_${this.#options.lane}`), 'latin1');
  }

  /** The relay's view of the names against what the server has just told about its own. */
  async #compareNames(replies: readonly Reply[]): Promise<void> {
    const pending = this.#pending as Pending;
    const rows = replies.slice(replies.findLastIndex(({ type }) => type === 'T')).length;
    if (rows === 0) throw new Error('the server did not answer');
    const gate = this.#gate as RawClient;
    gate.send(serialize.query('select name, statement from pg_prepared_statements order by name'));
    const answer = await upToReady(gate);
    const onServer = new Map(answer.filter(({ type }) => type === 'D').map((row) => fieldsOf(row.bytes) as [string, string]));
    for (const name of namesInUse) {
      const found = pending.statements.find(name, 0);
      if (found === 'wait') throw new Error(`the relay is still unsure about ${name}`);
      equal(`prepared statement ${name}`, found.value?.sql, onServer.get(name));
      const portal = pending.portals.find(name, 0);
      if (portal === 'wait' || portal.value !== undefined) throw new Error(`the relay remembers portal ${name} outside a transaction`);
      onServer.delete(name);
    }
    equal('statements that the relay does not know', [...onServer.keys()].join(), '');
    equal('transaction status', pending.status, 'I');
    equal('nothing is owed', pending.isIdle, true);
  }

  /** Each statement that the server logged is on record in its order, and each that succeeded is logged: as the same text. */
  async checkRecord(): Promise<void> {
    const { fixture } = this.#options;
    if (this.#tunnel === undefined) return;
    this.#drop();
    const entries = await settledEntries(fixture, this.#tunnel.session.id);
    const log = await readFile(fixture.postgres.logFile, 'utf8');
    checkRecord(entries, log);
  }
}

/** Ends COPY if one is open, says what is there, leaves the transaction, and says a word to be recognised by. */
export function closing(mark: string): Buffer {
  return Buffer.concat([
    serialize.copyDone(),
    serialize.sync(),
    serialize.copyDone(),
    serialize.query('select name, statement from pg_prepared_statements order by name'),
    serialize.query('select name, statement, is_holdable from pg_cursors order by name'),
    serialize.query('rollback'),
    serialize.query(`select '${mark}'`),
  ]);
}

export async function upToMark(client: RawClient, mark: string): Promise<Reply[]> {
  let from = 0;
  await client.until(() => {
    for (; from < client.replies.length; from++) {
      const { type, bytes } = client.replies[from] as Reply;
      if (type === 'D' && bytes.length < 100 && bytes.includes(mark) && client.replies.slice(from).some((reply) => reply.type === 'Z')) return from;
      if (type === 'D' && bytes.length < 100 && bytes.includes(mark)) return -1;
    }
    return client.isClosed ? 0 : -1;
  }, true);
  return client.replies.splice(0);
}

async function upToReady(client: RawClient): Promise<Reply[]> {
  const at = await client.until(() => client.replies.findIndex(({ type }) => type === 'Z'));
  return client.replies.splice(0, at + 1);
}

/** The relay's own bookkeeping of a connection, caught as it comes into use. */
async function pendingOf(client: RawClient, mark: string): Promise<Pending> {
  const push = Object.getOwnPropertyDescriptor(Pending.prototype, 'push')?.value as (this: Pending, owed: Owed) => void;
  const caught = new Promise<Pending>((resolve) => {
    Pending.prototype.push = function (owed) {
      // Other lanes use theirs at the same time; this one is known by the name that is closed here.
      if (owed.kind === 'close' && owed.statement?.name === mark) resolve(this);
      push.call(this, owed);
    };
  });
  client.send(serialize.close({ type: 'S', name: mark }), serialize.sync());
  const pending = await caught;
  await upToReady(client);
  return pending;
}

/** Throws where the two differ; answers the differences that are the server's own. */
function compare(actual: readonly Reply[], expected: readonly Reply[], areClosed: boolean): Excuse[] {
  const [mine, theirs] = [actual, expected].map((replies) => replies.map(describe)) as [string[], string[]];
  const excuses: Excuse[] = [];
  for (let at = 0; at < Math.max(mine.length, theirs.length); at++) {
    if (isSameReply(mine[at] ?? '', theirs[at])) continue;
    if (areClosed && areEnds(mine.slice(at)) && areEnds(theirs.slice(at))) return excuses;
    const excuse = excuseOf(mine, theirs, at);
    if (excuse === undefined) {
      const around = (replies: string[]) => replies.slice(Math.max(0, at - 6), at + 4).join('  ');
      throw new Error(`reply ${at} differs\n  gate:   ${around(mine)}\n  direct: ${around(theirs)}`);
    }
    excuses.push(excuse);
    if (excuse !== 'dead-portal-reply') return excuses;
  }
  return excuses;
}

/**
 * In COPY data anything else is the end. The server says so with an error and a FATAL, which are lost on the way when the rest of the
 * data meets its closed socket; gate, when it must know a name first that nobody will tell it any more, says it with a FATAL of its own.
 */
function areEnds(replies: readonly string[]): boolean {
  return replies.every((reply) => /^E:(?:08P01:|08001:gate-upstream-unreachable)/.test(reply));
}

function excuseOf(mine: readonly string[], theirs: readonly string[], at: number): Excuse | undefined {
  const [gate = '', direct = ''] = [mine[at], theirs[at]];
  // A Query that fails while it runs leaves a dead unnamed portal up to the end of the transaction. Gate refuses EXECUTE
  // of an unknown name before there is one; a Describe tells the two apart, and from there on they go different ways.
  const isDead = gate === 'E:34000:portal "" does not exist' && /^(?:n:$|E:25P02:)/.test(direct);
  if (isDead && mine.slice(0, at).includes('E:26000:gate-statement-unknown')) return 'unnamed-dead';
  const isFailed = theirs.slice(0, at).findLast((reply) => reply.startsWith('Z:')) === 'Z:E';
  // A Bind that fails in planning leaves one as well, and the server answers its Execute as that of an empty text. Gate knows of
  // no such portal. The transaction has failed either way, and nothing can run in it; up to Sync the two differ.
  if (isFailed && gate.startsWith('E:34000:gate-portal-unknown') && direct.startsWith('I:')) return 'unnamed-empty';
  // What the server says to an Execute of a dead unnamed portal in a failed transaction depends on memory that it has given back:
  // the list of the portal's statements is that of a Query long done. Only Execute of the unnamed portal brings the one text, and
  // up to here both heard the same, so the other text answers the same message. Both skip to Sync, and are compared from there on.
  const ofDead = 'E:55000:portal "" cannot be run';
  const ofFailed = 'E:25P02:current transaction is aborted, commands ignored until end of transaction block';
  if (isFailed && [gate, direct].includes(ofDead) && [gate, direct].includes(ofFailed)) return 'dead-portal-reply';
  return undefined;
}

/** Where gate refuses, the oracle was sent what cannot be parsed; an unknown name in EXECUTE is refused in its own way. */
function isSameReply(mine: string, theirs: string | undefined): boolean {
  if (mine === theirs) return true;
  if (theirs === undefined) return false;
  const gate = /^E:(\w{5}):gate-(.*)$/.exec(mine);
  if (gate === null) return false;
  const [, sqlstate, code] = gate;
  if (theirs.startsWith(`E:${sqlstate}:`)) return true;
  // A server that has lost its own track of an implicit transaction trips over whatever stands in the place of the refused.
  if (theirs.startsWith('E:XX000:StartTransactionCommand: unexpected state')) return true;
  switch (code ?? '') {
    case 'denied':
      return /^E:(?:42601|26000|25P02):/.test(theirs);
    case 'portal-unknown':
      // Of a failed Query in a transaction the server keeps the dead unnamed portal.
      return /^E:(?:42601|25P02|55000):/.test(theirs);
    case 'name-too-long':
    case 'not-supported':
    case 'statement-unknown':
      return theirs.startsWith('E:42601:');
    case 'protocol-violation':
      return theirs.startsWith('E:08P01:');
    default:
      return false;
  }
}

function describe({ type, bytes }: Reply): string {
  switch (type) {
    case 'E':
    case 'N': {
      const fields = decodeReport(bytes);
      const isGates = fields.get('F') === 'gate';
      // What stands in for a refused message is of another type.
      const message = fields.get('M')?.replace(/message type 0x../, 'message type');
      return `${type}:${fields.get('C')}:${isGates ? `gate-${fields.get('R')}` : message}`;
    }
    case 'T':
      return `T:${columnsOf(bytes)}`;
    default:
      return `${type}:${bytes.subarray(5).toString('latin1').replaceAll('\0', '.')}`;
  }
}

/** Names and types of the columns; the tables' own numbers differ between two databases. */
function columnsOf(bytes: Buffer): string {
  const columns: string[] = [];
  let at = 7;
  while (at < bytes.length) {
    const end = bytes.indexOf(0, at);
    columns.push(`${bytes.subarray(at, end).toString()}/${bytes.readUInt32BE(end + 7)}`);
    at = end + 19;
  }
  return columns.join();
}

function fieldsOf(bytes: Buffer): string[] {
  const fields: string[] = [];
  let at = 7;
  while (at < bytes.length) {
    const length = bytes.readInt32BE(at);
    fields.push(bytes.subarray(at + 4, at + 4 + length).toString());
    at += 4 + length;
  }
  return fields;
}

/** The entries once every connection has its last one. */
async function settledEntries(fixture: RelayFixture, session: string): Promise<AuditEntry[]> {
  const giveUp = Date.now() + 20_000;
  for (;;) {
    const entries = await fixture.entries(session);
    const count = (kind: string) => entries.filter(({ event }) => event.kind === kind).length;
    if (count('connection.open') === count('connection.close')) return entries;
    if (Date.now() > giveUp) throw new Error('connections without an end on record');
    await sleep(50);
  }
}
