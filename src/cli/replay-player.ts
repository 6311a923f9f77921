/** Writes the pieces of a transcript out at a pace: recorded pauses, faster, shorter, or none. */
import type { TranscriptPiece } from '../audit/transcript.ts';

export type Pace = {
  /** How many times as fast as it happened; Infinity for no pauses. */
  readonly speed: number;
  /** The longest pause as played, whatever was recorded. */
  readonly pauseMsMax: number;
};

export type PlayOptions = {
  readonly pace: Pace;
  /** Resolves when the text was taken; nothing more is read until then. */
  readonly write: (text: string) => Promise<void>;
  /** A rejection ends the playing. */
  readonly sleep: (ms: number) => Promise<unknown>;
};

/** Shorter pauses add up to one of this length: timers are no finer, and thousands of them would slow a replay. */
const sleepMsMin = 10;
/** Text without pauses is written in pieces of about this length. */
const writeLengthMin = 64 * 1024;

/** Ends when the pieces do. When they fail, what came before the failure is written out first. */
export async function playPieces(pieces: AsyncIterable<TranscriptPiece>, options: PlayOptions): Promise<void> {
  const { pace, write, sleep } = options;
  let text = '';
  let owedMs = 0;
  const flush = async () => {
    const taken = text;
    text = '';
    if (taken !== '') await write(taken);
  };
  try {
    for await (const piece of pieces) {
      owedMs += Math.min(piece.delayMs / pace.speed, pace.pauseMsMax);
      if (owedMs >= sleepMsMin) {
        await flush();
        await sleep(owedMs);
        owedMs = 0;
      }
      text += piece.text;
      if (text.length >= writeLengthMin) await flush();
    }
  } finally {
    await flush();
  }
}
