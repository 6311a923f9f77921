/** What single steps of gate cost, by its own modules, each against a yardstick measured in the same breath. */
import { randomBytes } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseSync } from 'libpg-query';
import { stringify } from 'yaml';
import type { Event } from '../../src/audit/entry.ts';
import { detect } from '../../src/mask/detect.ts';
import { ResultRows } from '../../src/mask/result-rows.ts';
import { FrameScanner } from '../../src/pgwire/frame.ts';
import { cstring, encodeMessage, int16, int32 } from '../../src/pgwire/bytes.ts';
import { decide } from '../../src/policy/decide.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { CatalogWatch } from '../../src/relay/catalog.ts';
import { KnownDecisions, type Decided } from '../../src/relay/known-decisions.ts';
import { StatementParser } from '../../src/relay/parsing.ts';
import type { ParsedSql } from '../../src/sql/parser.ts';
import { resolveFacts } from '../../src/sql/resolve.ts';
import { shapeOf } from '../../src/sql/shape.ts';
import { frameEvent } from '../../src/store/frame-event.ts';
import { realLogFiles } from '../../src/store/log-files.ts';
import { openLog } from '../../src/store/log.ts';
import { policyOf, rules, targetTo } from './policies.ts';
import type { Stage } from './stage.ts';
import { median, sorted } from './statistics.ts';

export type MicroResult = {
  readonly name: string;
  readonly unit: 'µs' | 'GB/s';
  /** Of repetitions; `best` is the least disturbed. */
  readonly best: number;
  readonly median: number;
};

const repetitions = 9;

/** Calls `work` in batches of about `milliseconds`, after as long a warm-up, and answers microseconds for each call. */
function measure(name: string, work: () => unknown, milliseconds: number): MicroResult {
  let calls = 1;
  for (let spent = 0; spent < milliseconds; calls *= 2) spent = timed(work, calls);
  const perCall = Array.from({ length: repetitions }, () => (timed(work, calls) * 1000) / calls);
  return { name, unit: 'µs', best: Math.min(...perCall), median: median(perCall) };
}

function timed(work: () => unknown, calls: number): number {
  const start = performance.now();
  for (let call = 0; call < calls; call++) work();
  return performance.now() - start;
}

/** The same of work on so many bytes. */
function measureBytes(name: string, bytes: number, work: () => unknown, milliseconds: number): MicroResult {
  const { best, median: middle } = measure(name, work, milliseconds);
  return { name, unit: 'GB/s', best: bytes / best / 1000, median: bytes / middle / 1000 };
}

export async function measureMicro(stage: Stage): Promise<readonly MicroResult[]> {
  const milliseconds = stage.options.isQuick ? 20 : 150;
  return [...(await statements(stage, milliseconds)), ...(await records(stage, milliseconds)), ...rows(milliseconds)];
}

const small = 'select abalance from pgbench_accounts where aid = 4711';
const medium = `select a.aid, a.abalance, b.bbalance, t.tbalance from pgbench_accounts a join pgbench_branches b on b.bid = a.bid
  join pgbench_tellers t on t.bid = b.bid and t.tid between 1 and 20 where a.aid = any (array[1, 2, 3, 5, 8, 13]) and a.abalance > 100
  and exists (select 1 from pgbench_history h where h.aid = a.aid and h.delta < 0) order by a.abalance desc, b.bbalance limit 50`;

async function statements({ direct }: Stage, milliseconds: number): Promise<MicroResult[]> {
  const watch = new CatalogWatch(targetTo(direct, 'bench'));
  const use = watch.use();
  const parser = await StatementParser.load(pathToFileURL(join(import.meta.dirname, '..', '..', 'dist', 'parser-worker.cjs')));
  try {
    await use.ready;
    if (watch.current === undefined) throw new Error(`the catalog could not be read: ${watch.error ?? 'no reason given'}`);
    const policy = parsePolicy(stringify(policyOf([{ name: 'bench' }])), 'policy.yaml');
    const names = { catalog: watch.current, path: watch.defaultSearchPath };
    const principal = { issuer: 'http://127.0.0.1', subject: 'bench', name: 'bench', kind: 'human', groups: ['engineering'] } as const;
    const createdAt = new Date();
    const grant = { id: 'g', principal, target: 'bench', role: 'full', createdAt, expiresAt: new Date(createdAt.getTime() + 3_600_000) };
    return [['55 bytes', small], ['500 bytes', medium]].flatMap(([size = '', sql = '']) => {
      const { statement } = expectParsed(parser.parse(sql));
      const decideOn = (): Decided => {
        const facts = statement.outlines.map((outline) => resolveFacts(outline, names));
        return { decision: decide({ facts, grant, target: { name: 'bench' }, policy, now: new Date() }), facts, changes: [] };
      };
      const known = new KnownDecisions(grant);
      const basis = { policy, names, parameterTypes: [] };
      known.keep(statement.outlines, basis, decideOn());
      const find = (): unknown => known.find(statement.outlines, basis, Date.now());
      if (find() === undefined) throw new Error('a decision that was to be known is not');
      return [
        measure(`PostgreSQL's parser alone (yardstick), ${size}`, () => parseSync(sql), milliseconds),
        measure(`parse and outline, ${size}`, () => parser.parse(sql), milliseconds),
        measure(`decide on a statement that was parsed before, ${rules.length} rules, ${size}`, decideOn, milliseconds),
        measure(`find the decision on a statement that ran before, ${size}`, find, milliseconds),
        measure(`shape for the record, ${size}`, () => shapeOf(sql), milliseconds),
      ];
    });
  } finally {
    use.release();
    await Promise.all([parser.close(), watch.close()]);
  }
}

function expectParsed(parsed: ParsedSql | Promise<ParsedSql>): Extract<ParsedSql, { ok: true }> {
  if (parsed instanceof Promise || !parsed.ok) throw new Error('a statement of the benchmark was not parsed');
  return parsed;
}

const statementEvent: Event = {
  kind: 'statement',
  connection: 1,
  statement: 1,
  protocol: 'extended',
  sql: small,
  shape: shapeOf(small),
  parameters: ['4711'],
  kinds: ['read'],
  tables: ['public.pgbench_accounts'],
  effect: 'allow',
  rule: 'bench/full/allow',
  reason: 'the role allows read',
};
const outcomeEvent: Event = { kind: 'outcome', connection: 1, statement: 1, state: 'ok', tags: ['SELECT 1'], rows: 1, digest: 'a'.repeat(64), bytesOut: 12, bytesIn: 0, durationMs: 0.42 };

async function records({ directory }: Stage, milliseconds: number): Promise<MicroResult[]> {
  const key = randomBytes(32);
  const keys = { keyOf: () => key, find: async () => key };
  const envelope = { v: 1, session: 's', seq: 1, prev: 'b'.repeat(64), time: new Date().toISOString() } as const;
  const frame = (name: string, event: Event) => measure(name, () => frameEvent(keys, envelope, event), milliseconds);
  return [
    frame('record: an entry for a statement, sealed and hashed', statementEvent),
    frame('record: an entry for its outcome', outcomeEvent),
    await logged(join(directory, 'micro-log'), milliseconds),
    fdatasync(join(directory, 'micro-sync'), milliseconds),
  ];
}

/** The whole of the log but for the disk, statement and outcome together. */
async function logged(directory: string, milliseconds: number): Promise<MicroResult> {
  const files = { ...realLogFiles, write: (_: number, bytes: Buffer, offset: number) => bytes.length - offset, fdatasync: async () => undefined };
  const log = await openLog(directory, { files, publishMs: 3_600_000 });
  const open: Event = {
    kind: 'session.open',
    who: { issuer: 'i', subject: 's', kind: 'human', name: 'n', groups: [] },
    target: 't',
    role: 'r',
    grant: 'g',
    expiresAt: '2100-01-01T00:00:00.000Z',
    command: 'connect',
    policy: 'p',
    relayVersion: '0',
  };
  const group = 64;
  await log.record('s', [open]);
  const perStatement: number[] = [];
  for (const end = performance.now() + milliseconds * repetitions; performance.now() < end; ) {
    const start = performance.now();
    await Promise.all(Array.from({ length: group }, () => log.record('s', [statementEvent, outcomeEvent])));
    perStatement.push(((performance.now() - start) * 1000) / group);
  }
  await log.close();
  return { name: `record: statement and outcome through the log without the disk, ${group} in a group`, unit: 'µs', best: sorted(perStatement)[0] ?? Number.NaN, median: median(perStatement) };
}

function fdatasync(file: string, milliseconds: number): MicroResult {
  const descriptor = openSync(file, 'a', 0o600);
  try {
    const line = randomBytes(700);
    return measure('fdatasync of 700 appended bytes (yardstick)', () => {
      writeSync(descriptor, line);
      fdatasyncSync(descriptor);
    }, Math.min(milliseconds, 50));
  } finally {
    closeSync(descriptor);
  }
}

/** Rows as of the table `bulk`. */
function rows(milliseconds: number): MicroResult[] {
  const fields = (n: number) => [String(n), `customer ${n}`, `c${n}@example.com`, String(4000000000000000 + n * 7919), '0123456789abcdef'.repeat(6)];
  const messages = Array.from({ length: 500 }, (_, n) => dataRow(fields(n)));
  const bytes = messages.reduce((sum, { length }) => sum + length, 0);
  const stream = Buffer.concat(messages);
  const text = stream.toString('latin1');
  const columns = ['id', 'name', 'email', 'card', 'remark'].map((name, index) => ({ name, relation: 1, column: index + 1, type: 25, format: 0 }));
  const through = (name: string, options: Partial<ConstructorParameters<typeof ResultRows>[0]>) => {
    const result = new ResultRows({ kinds: [], key: randomBytes(32), onFound: () => undefined, ...options });
    result.describe(columns);
    return measureBytes(name, bytes, () => result.pass(stream), milliseconds);
  };
  const scanner = new FrameScanner({ begin: () => 'raw', raw: () => undefined, message: () => undefined });
  return [
    measureBytes('follow rows that nothing is done to', bytes, () => scanner.push(stream), milliseconds),
    measureBytes('detectors for cards and IBANs on their text', bytes, () => detect(text, ['card', 'iban']), milliseconds),
    through('rows shown with one column of five masked', { maskOf: ({ name }) => (name === 'card' ? { kind: 'partial', last: 4 } : { kind: 'clear' }) }),
    through('rows through detectors for cards and IBANs', { kinds: ['card', 'iban'] }),
  ];
}

function dataRow(fields: readonly string[]): Buffer {
  return encodeMessage('D', int16(fields.length), ...fields.flatMap((field) => [int32(Buffer.byteLength(field)), cstring(field).subarray(0, -1)]));
}
