/** gate sessions replay: the record of a session as a transcript at recorded speed, or as the entries themselves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { SessionSummary } from '../../../api/api.ts';
import type { AuditEntry } from '../../../audit/entry.ts';
import type { TextKind, TranscriptPiece } from '../../../audit/transcript.ts';
import { GateError } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import { exitOfSignal } from '../../exit-code.ts';
import type { Io } from '../../io.ts';
import { playPieces, type Pace } from '../../replay-player.ts';

type Flags = { readonly format?: 'text' | 'json'; readonly speed?: number; readonly skipIdle?: number };

export type ReplayOptions = Flags & {
  /** stdout is a terminal: somebody watches. */
  readonly isTerminal: boolean;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

/** What a pause is cut to on a terminal, unless told otherwise. */
const watchedPauseMsMax = 2000;
/** No pause is longer: setTimeout cannot wait for much more, and nobody would. */
const pauseMsMax = 24 * 60 * 60 * 1000;
export function replayCommand(context: Context): Command {
  return new Command('replay')
    .summary('play what was done in a session')
    .description(
      'Plays the record of a session: who, why, each statement, and what came of it. On a terminal at the speed at ' +
        'which it happened, with long pauses cut; elsewhere at once.',
    )
    .argument('<session>', 'its id, or as much of the beginning as no other session shares')
    .addOption(new Option('--format <format>', 'a transcript, or the entries as NDJSON').choices(['text', 'json']))
    .option('--speed <factor>', 'how many times as fast as it happened, or max for no pauses', parseSpeed)
    .option('--skip-idle <seconds>', 'the longest pause', parseSeconds)
    .action((id: string, flags: Flags) => {
      const isTerminal = context.io.outputColumns !== undefined;
      return runSessionsReplay(context, id, {
        ...flags,
        isTerminal,
        sleep: (ms, signal) => sleep(ms, undefined, { signal }),
      });
    });
}

/**
 * Reads the record no faster than it is written out. Fails with `record-damaged`, after all that could be read was
 * written, when the record is not whole; a signal ends it at once.
 */
export async function runSessionsReplay(context: Context, id: string, options: ReplayOptions): Promise<void> {
  const { io } = context;
  const isJson = (options.format ?? (io.json ? 'json' : 'text')) === 'json';
  if (isJson && (options.speed !== undefined || options.skipIdle !== undefined)) {
    throw new GateError('usage', 'entries as JSON are written at once: --speed and --skip-idle go with --format text');
  }
  if (io.json && !isJson) throw new GateError('usage', '--json and --format text exclude each other');
  const relay = await context.relay();
  const session = await relay.session(id);
  const stop = context.stopSignal();
  const entries = checkWhole(relay.entries(session.id), session);
  const pace = isJson ? atOnce : choosePace(options);
  const { formatTranscript } = await import('../../../audit/transcript.ts');
  const pieces = isJson ? toJsonPieces(entries) : formatTranscript(entries, { style: await createStyle(io) });
  if (options.isTerminal && pace.speed !== Infinity && options.speed === undefined) {
    io.say(`At the speed at which it happened, pauses cut to ${pace.pauseMsMax / 1000} s. All at once: --speed max\n`);
  }
  const played = playPieces(pieces, {
    pace,
    write: (text) => io.write(text),
    sleep: (ms) => options.sleep(ms, stop),
  });
  await untilStopped(played, stop);
}

const atOnce: Pace = { speed: Infinity, pauseMsMax: 0 };

function choosePace({ isTerminal, speed, skipIdle }: ReplayOptions): Pace {
  const longest = skipIdle === undefined ? (isTerminal ? watchedPauseMsMax : pauseMsMax) : skipIdle * 1000;
  return { speed: speed ?? (isTerminal ? 1 : Infinity), pauseMsMax: Math.min(longest, pauseMsMax) };
}

/** A write or a read that hangs must not hold up the end. */
async function untilStopped(work: Promise<void>, stop: AbortSignal): Promise<void> {
  // What the work meets after the end, an aborted sleep for example, is of no interest.
  work.catch(() => undefined);
  const finished = new AbortController();
  const stopped = new Promise<never>((_, reject) => {
    const onStop = () => reject(exitOfSignal(stop.reason));
    stop.addEventListener('abort', onStop, { signal: finished.signal });
    if (stop.aborted) onStop();
  });
  try {
    await Promise.race([stopped, work]);
  } finally {
    finished.abort();
  }
}

/**
 * Passes entries on, and fails with `record-damaged` where one is missing, repeated, moved or another session's, and
 * where they stop short of what the relay counted before it sent them. The hashes are not computed: they are over the
 * bytes of the log, which what the API sends does not keep.
 */
async function* checkWhole(entries: AsyncIterable<AuditEntry>, session: SessionSummary): AsyncGenerator<AuditEntry> {
  const { chainProblem } = await import('../../../audit/line.ts');
  let seq = 0;
  let statements = 0;
  let hasEnd = false;
  for await (const entry of entries) {
    const problem =
      entry.session === session.id
        ? chainProblem({ seq, hash: seq === 0 ? '' : entry.prev }, entry)
        : `entry ${entry.seq} of session ${entry.session} is in its place`;
    if (problem !== undefined) throw damaged(session, problem);
    seq = entry.seq;
    if (entry.event.kind === 'statement') statements += 1;
    hasEnd ||= entry.event.kind === 'session.close';
    yield entry;
  }
  if (statements < session.statements) {
    throw damaged(session, `it stops after entry ${seq} with ${statements} of ${session.statements} statements`);
  }
  if (session.state === 'ended' && !hasEnd) {
    throw damaged(session, `it stops after entry ${seq} without the end of the session, which has ended`);
  }
}

function damaged(session: SessionSummary, problem: string): GateError {
  return new GateError('record-damaged', `the record of ${session.id} is not whole: ${problem}`, {
    hint: 'Whoever runs the relay should look at its log and its state directory.',
  });
}

async function* toJsonPieces(entries: AsyncIterable<AuditEntry>): AsyncGenerator<TranscriptPiece> {
  for await (const entry of entries) yield { delayMs: 0, text: `${JSON.stringify(entry)}\n` };
}

async function createStyle(io: Io): Promise<(kind: TextKind, text: string) => string> {
  const colors = await io.colors();
  const styles: Readonly<Record<TextKind, (text: string) => string>> = {
    label: colors.bold,
    time: colors.dim,
    prompt: colors.cyan,
    sql: colors.bold,
    ok: colors.green,
    error: colors.red,
    refused: colors.bold.red,
    unknown: colors.bold.yellow,
    note: colors.dim,
  };
  return (kind, text) => styles[kind](text);
}

function parseSpeed(text: string): number {
  if (text === 'max') return Infinity;
  const factor = Number(text);
  if (/^\d*\.?\d+$/.test(text) && factor > 0 && factor < Infinity) return factor;
  throw new InvalidArgumentError('It must be a number above 0, or max.');
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d*\.?\d+$/.test(text) && seconds < Infinity) return seconds;
  throw new InvalidArgumentError('It must be a number of seconds, 0 or more.');
}
