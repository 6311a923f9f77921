/** gate sessions replay: the record of a session as a transcript at recorded speed, as a recording to play elsewhere, or as the entries themselves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { SessionSummary } from '../../../api/api.ts';
import type { AuditEntry } from '../../../audit/entry.ts';
import type { TranscriptPiece } from '../../../audit/transcript.ts';
import { GateError } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import type { Io } from '../../io.ts';
import { playPieces, type Pace } from '../../replay-player.ts';
import { createStyle } from '../../transcript-style.ts';
import { untilStopped } from '../../until-stopped.ts';

const formats = ['text', 'json', 'cast', 'html'] as const;
type Format = (typeof formats)[number];
type Flags = { readonly format?: Format; readonly output?: string; readonly speed?: number; readonly skipIdle?: number };

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
        'which it happened, with long pauses cut; elsewhere at once. As cast it plays in asciinema and its like, as html in ' +
        'any browser without a network.',
    )
    .argument('<session>', 'its id, or as much of the beginning as no other session shares')
    .addOption(new Option('--format <format>', 'a transcript, the entries as NDJSON, an asciicast, or a web page').choices(formats))
    .option('--output <file>', 'write to this new file; it is removed again if the record is not whole')
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
 * written to stdout, when the record is not whole; a signal ends it at once.
 */
export async function runSessionsReplay(context: Context, id: string, options: ReplayOptions): Promise<void> {
  const { io } = context;
  const { output } = options;
  const format = options.format ?? (io.json ? 'json' : 'text');
  checkFlags(format, io.json, options);
  const relay = await context.relay();
  const session = await relay.session(id);
  const stop = context.stopSignal();
  const play = async (write: (text: string) => Promise<void>) => {
    const pieces = await createPieces(format, checkWhole(relay.entries(session.id), session), io, options);
    const pace = format === 'text' ? choosePace(options) : atOnce;
    if (options.isTerminal && output === undefined && pace.speed !== Infinity && options.speed === undefined) {
      io.say(`At the speed at which it happened, pauses cut to ${pace.pauseMsMax / 1000} s. All at once: --speed max\n`);
    }
    await untilStopped(playPieces(pieces, { pace, write, sleep: (ms) => options.sleep(ms, stop) }), stop);
  };
  if (output === undefined) return play((text) => io.write(text));
  const { writeNewFile } = await import('../../output-file.ts');
  await writeNewFile(output, play);
}

function checkFlags(format: Format, isJson: boolean, { isTerminal, output, speed, skipIdle }: ReplayOptions): void {
  if (format === 'json' && (speed !== undefined || skipIdle !== undefined)) {
    throw new GateError('usage', 'entries as JSON are written at once: --speed and --skip-idle go with --format text');
  }
  if (isJson && format !== 'json') throw new GateError('usage', `--json and --format ${format} exclude each other`);
  if (format !== 'cast' && format !== 'html') return;
  if (speed !== undefined) {
    throw new GateError('usage', `${format} is written at once, and whoever plays it sets the speed: --speed goes with --format text`);
  }
  if (isTerminal && output === undefined) {
    throw new GateError('usage', `${format} is nothing to read on a terminal: name a file with --output`);
  }
}

type Entries = AsyncIterable<AuditEntry>;

async function createPieces(format: Format, entries: Entries, io: Io, options: ReplayOptions): Promise<AsyncIterable<TranscriptPiece>> {
  if (format === 'json') return withoutPauses(toJsonLines(entries));
  const { formatTranscript } = await import('../../../audit/transcript.ts');
  const cut = options.skipIdle === undefined ? {} : { pauseMsMax: Math.min(options.skipIdle * 1000, pauseMsMax) };
  if (format === 'cast') {
    const { castStyle, formatCast } = await import('../../../audit/cast.ts');
    return withoutPauses(formatCast(formatTranscript(entries, { style: castStyle }), cut));
  }
  if (format === 'html') {
    const { formatReplayHtml, htmlStyle } = await import('../../../audit/replay-html.ts');
    return withoutPauses(formatReplayHtml(formatTranscript(entries, { style: htmlStyle }), cut));
  }
  return formatTranscript(entries, options.output === undefined ? { style: await createStyle(io) } : {});
}

const atOnce: Pace = { speed: Infinity, pauseMsMax: 0 };

function choosePace({ isTerminal, output, speed, skipIdle }: ReplayOptions): Pace {
  const isWatched = isTerminal && output === undefined;
  const longest = skipIdle === undefined ? (isWatched ? watchedPauseMsMax : pauseMsMax) : skipIdle * 1000;
  return { speed: speed ?? (isWatched ? 1 : Infinity), pauseMsMax: Math.min(longest, pauseMsMax) };
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

async function* toJsonLines(entries: Entries): AsyncGenerator<string> {
  for await (const entry of entries) yield `${JSON.stringify(entry)}\n`;
}

async function* withoutPauses(texts: AsyncIterable<string>): AsyncGenerator<TranscriptPiece> {
  for await (const text of texts) yield { delayMs: 0, text };
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
