/** The pace of a replay: which pauses are made, and that nothing is read ahead of what was written. */
import { describe, expect, test } from 'vitest';
import type { TranscriptPiece } from '../../src/audit/transcript.ts';
import { playPieces, type Pace } from '../../src/cli/replay-player.ts';

async function* piecesOf(delaysMs: readonly number[], failure?: Error): AsyncGenerator<TranscriptPiece> {
  for (const [index, delayMs] of delaysMs.entries()) yield { delayMs, text: `${index}\n` };
  if (failure !== undefined) throw failure;
}

/** What was written and slept, in order. */
async function play(delaysMs: readonly number[], pace: Pace): Promise<(string | number)[]> {
  const steps: (string | number)[] = [];
  await playPieces(piecesOf(delaysMs), {
    pace,
    write: (text) => Promise.resolve(void steps.push(text)),
    sleep: (ms) => Promise.resolve(void steps.push(ms)),
  });
  return steps;
}

describe('playPieces', () => {
  test.each<[string, number[], Pace, (string | number)[]]>([
    ['recorded speed', [0, 500, 90_000], { speed: 1, pauseMsMax: 1e6 }, ['0\n', 500, '1\n', 90_000, '2\n']],
    ['four times as fast', [0, 500, 90_000], { speed: 4, pauseMsMax: 1e6 }, ['0\n', 125, '1\n', 22_500, '2\n']],
    ['half as fast', [0, 500], { speed: 0.5, pauseMsMax: 1e6 }, ['0\n', 1000, '1\n']],
    ['long pauses cut', [0, 500, 90_000], { speed: 1, pauseMsMax: 2000 }, ['0\n', 500, '1\n', 2000, '2\n']],
    ['the cut is of what is played', [0, 90_000], { speed: 0.1, pauseMsMax: 2000 }, ['0\n', 2000, '1\n']],
    ['no pauses at all', [0, 500, 90_000], { speed: Infinity, pauseMsMax: 2000 }, ['0\n1\n2\n']],
    ['pauses cut to nothing', [0, 500, 90_000], { speed: 1, pauseMsMax: 0 }, ['0\n1\n2\n']],
    ['short pauses add up', [0, 4, 4, 4], { speed: 1, pauseMsMax: 2000 }, ['0\n1\n2\n', 12, '3\n']],
    ['nothing to play', [], { speed: 1, pauseMsMax: 2000 }, []],
  ])('%s', async (_, delaysMs, pace, steps) => {
    expect(await play(delaysMs, pace)).toEqual(steps);
  });

  test('what came before a failure is written', async () => {
    const written: string[] = [];
    const played = playPieces(piecesOf([0, 0], new Error('the record is damaged')), {
      pace: { speed: Infinity, pauseMsMax: 0 },
      write: (text) => Promise.resolve(void written.push(text)),
      sleep: () => Promise.resolve(),
    });
    await expect(played).rejects.toThrow('the record is damaged');
    expect(written).toEqual(['0\n1\n']);
  });

  test('nothing is read while a write is under way', async () => {
    let [produced, written] = [0, 0];
    let isWriting = false;
    const text = 'x'.repeat(100_000);
    async function* endless(): AsyncGenerator<TranscriptPiece> {
      for (; produced < 100; produced += 1) {
        expect(isWriting).toBe(false);
        yield { delayMs: 0, text };
      }
    }
    await playPieces(endless(), {
      pace: { speed: Infinity, pauseMsMax: 0 },
      write: async (taken) => {
        isWriting = true;
        await new Promise((resolve) => setImmediate(resolve));
        isWriting = false;
        written += taken.length;
        expect(taken.length).toBe(text.length);
      },
      sleep: () => Promise.resolve(),
    });
    expect(written).toBe(100 * text.length);
  });

  test('a sleep that fails ends it, and closes what it reads from', async () => {
    let isClosed = false;
    async function* source(): AsyncGenerator<TranscriptPiece> {
      try {
        yield* piecesOf([0, 500, 500]);
      } finally {
        isClosed = true;
      }
    }
    const written: string[] = [];
    const played = playPieces(source(), {
      pace: { speed: 1, pauseMsMax: 2000 },
      write: (taken) => Promise.resolve(void written.push(taken)),
      sleep: () => Promise.reject(new Error('stopped')),
    });
    await expect(played).rejects.toThrow('stopped');
    expect(written).toEqual(['0\n']);
    expect(isClosed).toBe(true);
  });
});
