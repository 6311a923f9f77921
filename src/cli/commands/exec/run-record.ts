/** What became of each text of one exec: kept for the note at a failure and for the summary of a job. */
import type { Fate } from '../../../client/sql-text.ts';
import type { NamedText } from './sources.ts';

export type Result = {
  /** PostgreSQL's tag; undefined where the rows were cut. */
  readonly tag: string | undefined;
  /** Rows that were written, of a result that has any. */
  readonly rows: number | undefined;
};

export type TextRecord = {
  readonly name: string;
  readonly sql: string;
  readonly parameters: number;
  state: 'not run' | 'running' | 'done' | 'failed';
  fate?: Fate;
  milliseconds?: number;
  readonly results: Result[];
};

export class RunRecord {
  readonly texts: readonly TextRecord[];
  readonly isSingleTransaction: boolean;
  #stoppedAt: number | undefined;
  #startedAtMs = 0;
  #current: TextRecord | undefined;

  constructor(texts: readonly NamedText[], isSingleTransaction: boolean) {
    this.texts = texts.map(({ name, sql, parameters = [] }) => ({ name, sql, parameters: parameters.length, state: 'not run', results: [] }));
    this.isSingleTransaction = isSingleTransaction;
  }

  begin(index: number): void {
    this.finish();
    this.#startedAtMs = performance.now();
    this.#current = this.texts[index];
    if (this.#current !== undefined) this.#current.state = 'running';
  }

  addResult(result: Result): void {
    this.#current?.results.push(result);
  }

  /** The text that runs has ended well. */
  finish(): void {
    this.#end('done');
  }

  stop(index: number, fate: Fate): void {
    this.#current = this.texts[index];
    if (this.#current !== undefined) this.#current.fate = fate;
    this.#end('failed');
    this.#stoppedAt = index;
  }

  #end(state: 'done' | 'failed'): void {
    if (this.#current === undefined) return;
    this.#current.state = state;
    this.#current.milliseconds ??= Math.round(performance.now() - this.#startedAtMs);
    this.#current = undefined;
  }

  /** What a script has to know after a failure; undefined where there is one text and nothing to be told apart. */
  get stopEvent(): Readonly<Record<string, unknown>> | undefined {
    const index = this.#stoppedAt;
    if (index === undefined || (this.texts.length === 1 && !this.isSingleTransaction)) return undefined;
    return {
      event: 'stopped',
      text: index + 1,
      texts: this.texts.length,
      fate: this.texts[index]?.fate,
      singleTransaction: this.isSingleTransaction,
      completed: this.isSingleTransaction ? 0 : index,
      notRun: this.texts.length - index - 1,
    };
  }

  /** The same for people, in one line. */
  get stopLine(): string | undefined {
    const index = this.#stoppedAt;
    if (index === undefined || this.stopEvent === undefined) return undefined;
    const count = this.texts.length;
    const fate = this.texts[index]?.fate ?? 'unknown';
    const what = count === 1 ? 'The SQL' : `SQL ${index + 1} of ${count} (${this.texts[index]?.name})`;
    if (this.isSingleTransaction) return `${what} failed; ${transactionFates[fate]}.`;
    const before = index === 0 ? '' : ` What came before it (${index} of ${count}) has taken effect.`;
    const rest = count - index - 1;
    const after = rest === 0 ? '' : ` What comes after it (${rest} of ${count}) was not run.`;
    return `${what} failed; ${fates[fate]}.${before}${after}`;
  }
}

const fates: Readonly<Record<Fate, string>> = {
  undone: 'what it had not committed itself is undone',
  partly: 'a COMMIT of its own has taken effect, the rest of it has not',
  done: 'it has taken effect all the same',
  unknown: 'whether it has taken effect is not known',
};

const transactionFates: Readonly<Record<Fate, string>> = {
  undone: 'the transaction was rolled back, so none of the SQL has taken effect',
  partly: 'a COMMIT of its own has taken effect, with all SQL before it; the rest has not',
  done: 'it has taken effect all the same',
  unknown: 'the connection broke at COMMIT: either all of the SQL has taken effect or none of it',
};
