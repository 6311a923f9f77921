/** Random conversations with a server: messages as a hostile or careless client may send them, and their twins for the oracle. */
import * as fc from 'fast-check';
import { serialize } from 'pg-protocol';
import { cstring, encodeMessage, int16 } from '../../src/pgwire/bytes.ts';

/** What is sent through gate, and what the oracle gets in its place: the same bytes wherever gate refuses nothing. */
export type Step = {
  readonly label: string;
  readonly gate: Buffer;
  readonly direct: Buffer;
  /** Turns of the event loop to wait before the next step: never long enough to rely on, often enough to vary. */
  readonly pauseMs: number;
};

/** Gate refuses names over 63 bytes, which the server would cut: two names that agree so far would be one. */
const longest = 'n'.repeat(63);
const statementNames = ['', '', '', 's1', 's1', 's2', 's3', 'q1', 'q1', 'q2', longest, `${longest}x`, `${longest}y`];
const portalNames = ['', '', '', 'p1', 'p1', 'p2', longest, `${longest}x`];

/** What fails in the oracle at the place where gate refuses. Named, so that the unnamed statement is left alone. */
const failingParse = parseMessage('oracle-refused', '!');

const allowed = [
  'select 1',
  'select n, v from model_0 order by n',
  'select generate_series(1, 5)',
  'select $1::int + 1',
  'select $1::text, $2::int',
  `insert into model_0 values (100, 'new')`,
  'insert into model_0 values (1, null)',
  `update model_0 set v = v || '!' where n = 2`,
  'delete from model_0 where n = 3 returning v',
  'select 1/0',
  // Not from the table: autovacuum, which comes to one of the two servers first, may make the plan one that fails before its rows.
  'select n / (n - 3) from generate_series(1, 5) n',
  'select * from missing',
  'selec 1',
  `select 'open`,
  'begin',
  'begin',
  'commit',
  'rollback',
  'savepoint a',
  'rollback to a',
  'release a',
  'deallocate s1',
  'deallocate q1',
  'deallocate q2',
  'deallocate all',
  'prepare q1 as select 10',
  'prepare q2 (int) as select $1 + 20',
  `prepare ${longest}zzz as select 63`,
  'discard all',
  'discard plans',
  'declare c1 cursor for select generate_series(1, 4)',
  'declare c2 cursor with hold for select generate_series(1, 4)',
  'fetch 2 from c1',
  'fetch all from c2',
  'close c1',
  'close p1',
  'close all',
  '',
  ' ',
  ';',
  '-- nothing',
  'copy model_0 to stdout',
  'copy (select 1/(n - 3) from generate_series(1, 5) n) to stdout',
  `set local datestyle = 'German'`,
  `set datestyle = 'ISO'`,
];
/** Only a simple Query may hold several statements; Parse answers 42601, which the oracle does as well. */
const severalStatements = [
  'select 1; select 2',
  `insert into model_0 values (200, 'x'); select 1/0`,
  'begin; select 1/0; commit',
  'begin; select 1',
  'commit; select 3',
  'deallocate q1; prepare q1 as select 11',
  'prepare q2 as select 12; select 1/0',
  'deallocate all; begin; prepare q2 as select 13',
  'select 1;;',
  'copy (select 1) to stdout; select 4',
];
/** Gate must know what EXECUTE will run when it sees the text, so in Parse it refuses what the server fails later, or never. */
const executes = ['execute q1', 'execute q2 (1)', 'execute q3', 'explain (costs off) execute q1'];
const refused = ['drop table model_0', 'create table other (n int)', 'select 1; drop table model_0', 'grant all on model_0 to public'];

const pause = fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 6 }) });
const anyText = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...allowed) },
  { weight: 2, arbitrary: fc.constantFrom(...severalStatements) },
  { weight: 2, arbitrary: fc.constantFrom(...refused) },
);
const queryText = fc.oneof({ weight: 12, arbitrary: anyText }, { weight: 2, arbitrary: fc.constantFrom(...executes) });
const statementName = fc.constantFrom(...statementNames);
const portalName = fc.constantFrom(...portalNames);
/** Cursors declared in SQL cannot be reached by Execute through gate: it did not see them bound. */
const anyPortalName = fc.oneof({ weight: 9, arbitrary: portalName }, { weight: 1, arbitrary: fc.constantFrom('c1', 'c2') });
const values = fc.constantFrom<string[]>([], [], ['7'], ['7'], ['x'], ['a', '8'], ['a', 'b']);
const rowLimit = fc.constantFrom(0, 0, 0, 1, 2);

/** pg-protocol's own prints a warning about long names. */
function parseMessage(name: string, text: string): Buffer {
  return encodeMessage('P', cstring(name), cstring(text), int16(0));
}

type Pair = readonly [gate: Buffer, direct: Buffer];
const same = (bytes: Buffer): Pair => [bytes, bytes];
const isLong = (...names: string[]) => names.some((name) => name.length > 63);
const isRefused = (text: string) => refused.includes(text);

function query(text: string): Pair {
  const bytes = serialize.query(text);
  return isRefused(text) ? [bytes, serialize.query('!')] : same(bytes);
}

/**
 * Statements that EXECUTE may find under its names: gate refuses EXECUTE of one that itself prepares, deallocates or
 * executes, which only the protocol can make; the server runs it.
 */
const plain = /^(?:select|insert|update|delete)\b[^;]*$/;

function parse(name: string, anything: string): Pair {
  const text = /^q\d$/.test(name) && !plain.test(anything) ? 'select 2' : anything;
  const bytes = parseMessage(name, text);
  if (isLong(name)) return [bytes, failingParse];
  return isRefused(text) ? [bytes, parseMessage(name, '!')] : same(bytes);
}

function bind(portal: string, statement: string, bound: string[]): Pair {
  const bytes = serialize.bind({ portal, statement, values: bound });
  return isLong(portal, statement) ? [bytes, failingParse] : same(bytes);
}

/** Close and Describe of any portal are forwarded; Execute only of those that were bound. */
function execute(portal: string, rows: number): Pair {
  const bytes = serialize.execute({ portal, rows });
  return isLong(portal) || /^c\d$/.test(portal) ? [bytes, failingParse] : same(bytes);
}

const describePortal = (name: string) => same(serialize.describe({ type: 'P', name }));

function close(type: 'S' | 'P', name: string): Pair {
  const bytes = serialize.close({ type, name });
  return isLong(name) ? [bytes, failingParse] : same(bytes);
}

const shorten = (text: string) => text.replaceAll(longest, 'n63');
const step = (label: string, pairs: readonly Pair[], pauseMs: number): Step => ({
  label: shorten(label) + (pauseMs > 0 ? ` (${pauseMs} ms)` : ''),
  gate: Buffer.concat(pairs.map(([gate]) => gate)),
  direct: Buffer.concat(pairs.map(([, direct]) => direct)),
  pauseMs,
});

const sync = serialize.sync();
const flush = serialize.flush();

const run = fc
  .record({ name: statementName, portal: portalName, text: anyText, bound: values, rows: rowLimit, describes: fc.boolean(), ends: fc.boolean(), pause })
  .map(({ name, portal, text, bound, rows, describes, ends, pause: ms }) =>
    step(
      `run(${name}, ${portal}, ${text}, [${bound.join()}], ${rows}${ends ? ', sync' : ''})`,
      [
        parse(name, text),
        bind(portal, name, bound),
        ...(describes ? [describePortal(portal)] : []),
        execute(portal, rows),
        ...(ends ? [same(sync)] : []),
      ],
      ms,
    ),
  );

const again = fc
  .record({ name: statementName, portal: portalName, bound: values, rows: rowLimit, pause })
  .map(({ name, portal, bound, rows, pause: ms }) =>
    step(`again(${name}, ${portal}, [${bound.join()}], ${rows})`, [bind(portal, name, bound), execute(portal, rows)], ms),
  );

const copyData = (text: string) => serialize.copyData(Buffer.from(text));

/**
 * COPY FROM STDIN in all its shapes. A Sync behind data stands only where the data is good: how much of it the server
 * had read when it failed decides whether that Sync is answered, and gate then always answers it.
 */
const copy = fc
  .record({
    isExtended: fc.boolean(),
    isTwice: fc.boolean(),
    isMissing: fc.constantFrom(false, false, false, true),
    lines: fc.constantFrom(['300\tx\n', '301\ty\n'], ['302\tz', '\n303\t\\N\n'], ['bad\tx\n', '304\tx\n'], ['1\tduplicate\n'], []),
    end: fc.constantFrom('done', 'done', 'fail'),
    earlySync: fc.boolean(),
    middle: fc.constantFrom('none', 'none', 'sync', 'flush'),
    pauses: fc.tuple(pause, pause),
    lastSync: fc.boolean(),
  })
  .map((shape): Step[] => {
    const { isExtended, isTwice, isMissing, lines, end, earlySync, middle, pauses, lastSync } = shape;
    const one = `copy ${isMissing ? 'missing' : 'model_0'} from stdin`;
    const text = isTwice && !isExtended ? `${one}; ${one}` : one;
    const start = isExtended ? [parse('', text), bind('', '', []), same(serialize.execute({})), ...(earlySync ? [same(sync)] : [])] : [query(text)];
    const isGood = lines[0]?.startsWith('30') === true && end === 'done' && !isTwice;
    const inMiddle = middle === 'sync' && isGood ? [same(sync)] : middle === 'flush' ? [same(flush)] : [];
    const finish = same(end === 'done' ? serialize.copyDone() : serialize.copyFail('no more'));
    const data = [...lines.map((line) => same(copyData(line))), ...inMiddle, finish];
    // Rows of an earlier COPY would make this one fail.
    const before = inMiddle.length > 0 ? [query('delete from model_0 where n > 299')] : [];
    return [
      step('before', before, 0),
      step(`copy(${JSON.stringify(shape)})`, start, pauses[0]),
      step('data', data, pauses[1]),
      // A second COPY waits for data as well; data that nobody asked for is ignored.
      ...(isTwice ? [step('more data', [same(copyData('310\tx\n')), finish], 0)] : []),
      ...(lastSync || isExtended ? [step('sync', [same(sync)], 0)] : []),
    ];
  });

const single = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary: arbitrary.map((one): Step[] => [one]) });

const steps = fc.oneof(
  single(6, fc.tuple(queryText, pause).map(([text, ms]) => step(`query(${text})`, [query(text)], ms))),
  single(4, fc.tuple(statementName, anyText, pause).map(([name, text, ms]) => step(`parse(${name}, ${text})`, [parse(name, text)], ms))),
  single(
    4,
    fc
      .tuple(portalName, statementName, values, pause)
      .map(([portal, name, bound, ms]) => step(`bind(${portal}, ${name}, [${bound.join()}])`, [bind(portal, name, bound)], ms)),
  ),
  single(1, fc.tuple(statementName, pause).map(([name, ms]) => {
    const bytes = serialize.describe({ type: 'S', name });
    return step(`describe statement(${name})`, [isLong(name) ? [bytes, failingParse] : same(bytes)], ms);
  })),
  single(1, fc.tuple(anyPortalName, pause).map(([portal, ms]) => step(`describe portal(${portal})`, [describePortal(portal)], ms))),
  single(4, fc.tuple(anyPortalName, rowLimit, pause).map(([portal, rows, ms]) =>
    step(`execute(${portal}, ${rows})`, [execute(portal, rows)], ms))),
  single(2, fc.tuple(fc.constantFrom<'S' | 'P'>('S', 'P'), fc.oneof(statementName, anyPortalName), pause).map(([type, name, ms]) =>
    step(`close(${type}, ${name})`, [close(type, name)], ms))),
  single(1, pause.map((ms) => step('flush', [same(flush)], ms))),
  single(6, pause.map((ms) => step('sync', [same(sync)], ms))),
  single(6, run),
  single(3, again),
  // FunctionCall is refused as an error in order; with an unknown function the server's own answer is an error, too.
  single(1, fc.constant(step('function call', [[Buffer.from([0x46, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), serialize.query('!')]], 0))),
  { weight: 2, arbitrary: copy },
);

/** At least thirty messages, in a stream that is never waited for. */
export const conversation: fc.Arbitrary<Step[]> = fc.array(steps, { minLength: 30, maxLength: 50, size: 'max' }).map((parts) => parts.flat());

/** The names that a conversation may leave behind. */
export const namesInUse = ['q1', 'q2', 's1', 's2', 's3', longest, 'p1', 'p2'];
