/** Long work goes on in short pieces, of which one is done in each turn of the event loop, whoever they are for. */

/** So long a piece of work may keep the others waiting. */
export const pieceMs = 5;

/** Those whose work goes on, in the order in which they came. */
const waiting: (() => void)[] = [];

function runNext(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(runNext);
}

/** Resolves in a turn of the event loop in which no other piece of long work is done. */
export function ownTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(runNext);
  });
}

/** The clock of one piece of long work after the other. */
export class Turns {
  #began = performance.now();

  get isOver(): boolean {
    return performance.now() - this.#began > pieceMs;
  }

  async next(): Promise<void> {
    await ownTurn();
    this.#began = performance.now();
  }
}
