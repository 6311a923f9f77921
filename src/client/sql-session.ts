/** Runs SQL texts over a tunnel of its own, without a local port, and hands on what comes back as it comes. */
import { serialize } from 'pg-protocol';
import type { TunnelNews } from '../api/api.ts';
import { GateError } from '../errors/errors.ts';
import type { OpenSession } from './session.ts';
import { logIn, SqlConnection, type CancelKey } from './sql-connection.ts';
import { TextRun } from './sql-text-run.ts';
import { TextStop } from './sql-text-stop.ts';
import type { Fate, SqlHandlers, SqlText } from './sql-text.ts';

export type SqlRequest = {
  /** The relay's URL without a trailing slash. */
  readonly relay: string;
  readonly session: OpenSession;
  readonly accessToken: () => Promise<string>;
  /** Run one after the other; the first that fails is the last. */
  readonly texts: readonly SqlText[];
  /** All of them between one BEGIN and one COMMIT. */
  readonly isSingleTransaction?: boolean;
  /** Of each result at most so many rows are fetched; each text is one statement then. */
  readonly rowsMax?: number;
  /** Each text is cancelled when it takes longer; the time that it waits for approval does not count. */
  readonly timeoutMs?: number;
  /** As in RelayRequest. */
  readonly agent?: string;
  readonly handlers: SqlHandlers;
  /** Cancels what runs on the server; no handler is called any more, and the promise rejects or resolves as it went. */
  readonly signal: AbortSignal;
};

/**
 * Resolves with the number of statements of each text, when the server has confirmed them all. Fails with the relay's
 * own refusal, with SqlError for an error of the database, with `sql-error` where a transaction was left open (it is
 * rolled back), with `statement-timeout`, with `relay-unreachable` when the tunnel broke, and with whatever a handler threw.
 */
export async function runSql(request: SqlRequest): Promise<readonly number[]> {
  let heard: ((news: TunnelNews) => void) | undefined;
  const connection = await openConnection(request, (news) => {
    heard?.(news);
    request.handlers.held?.(news);
  });
  try {
    const key = await logIn(connection, request.session);
    if (request.signal.aborted) throw new GateError('session-ended', 'interrupted before anything was run');
    const texts = new Texts(request, connection, key);
    heard = (news) => texts.noteHeld(news.requestId);
    const counts = await texts.run();
    await connection.close();
    return counts;
  } finally {
    connection.abandon();
  }
}

async function openConnection({ relay, session, accessToken, agent }: SqlRequest, onNews: (news: TunnelNews) => void): Promise<SqlConnection> {
  return SqlConnection.open({ relay, session: session.id, accessToken: await accessToken(), ...(agent !== undefined && { agent }) }, onNews);
}

/** A cancel request travels on a connection of its own, which the server closes without an answer. */
async function cancel(request: SqlRequest, key: CancelKey): Promise<void> {
  const connection = await openConnection(request, () => undefined);
  connection.write(serialize.cancel(key.pid, key.secret));
  await connection.closed();
}

class Texts {
  readonly #request: SqlRequest;
  readonly #connection: SqlConnection;
  readonly #key: CancelKey;
  #current: { readonly run: TextRun; readonly stop: TextStop } | undefined;

  constructor(request: SqlRequest, connection: SqlConnection, key: CancelKey) {
    this.#request = request;
    this.#connection = connection;
    this.#key = key;
  }

  noteHeld(requestId: string): void {
    this.#current?.run.noteHeld(requestId);
    this.#current?.stop.noteHeld();
  }

  async run(): Promise<number[]> {
    const { texts, isSingleTransaction = false, signal } = this.#request;
    if (isSingleTransaction) expectDone(await this.#command('BEGIN'));
    const counts: number[] = [];
    for (const [index, text] of texts.entries()) {
      if (signal.aborted) break;
      counts.push(await this.#runText(index, text));
    }
    if (signal.aborted && (isSingleTransaction || counts.length < texts.length)) {
      throw new GateError('session-ended', isSingleTransaction ? 'interrupted; the transaction is rolled back' : 'interrupted; what follows was not run');
    }
    if (isSingleTransaction) await this.#commit(texts.length - 1);
    return counts;
  }

  async #runText(index: number, text: SqlText): Promise<number> {
    const { handlers, rowsMax, isSingleTransaction = false } = this.#request;
    handlers.begin?.(index);
    const stop = this.#createStop();
    const run = new TextRun({ connection: this.#connection, text, handlers, stop: stop.signal, rowsMax });
    this.#current = { run, stop };
    let failure: unknown;
    try {
      await run.run();
      failure = run.failure ?? wrongEnd(run, isSingleTransaction, text.sql);
    } catch (error) {
      failure = error;
    } finally {
      stop.end();
    }
    const fate = fateOf(run, isSingleTransaction);
    failure = stop.explain(failure, fate);
    if (failure === undefined) return run.tags.length;
    if (isSingleTransaction && run.status !== '' && run.status !== 'I') await this.#rollBack();
    handlers.stopped?.(index, fate);
    throw failure;
  }

  #createStop(): TextStop {
    const { signal, timeoutMs } = this.#request;
    return new TextStop({
      signal,
      timeoutMs,
      cancel: () => cancel(this.#request, this.#key),
      abandon: () => this.#connection.abandon(),
    });
  }

  /** BEGIN, COMMIT and ROLLBACK are statements like any other: decided on and recorded. */
  async #command(sql: string): Promise<TextRun> {
    const { handlers } = this.#request;
    const stop = this.#createStop();
    const run = new TextRun({ connection: this.#connection, text: { sql }, handlers, stop: AbortSignal.abort(), rowsMax: undefined });
    await run.run().finally(() => stop.end());
    return run;
  }

  async #commit(last: number): Promise<void> {
    let fate: Fate = 'unknown';
    try {
      const run = await this.#command('COMMIT');
      fate = 'undone';
      expectDone(run);
      if (run.tags[0] !== 'COMMIT') throw new GateError('sql-error', 'the transaction could not be committed, and was rolled back');
    } catch (error) {
      this.#request.handlers.stopped?.(last, fate);
      throw error;
    }
  }

  /** The server does the same when the connection ends, only later. */
  async #rollBack(): Promise<void> {
    if (!this.#request.signal.aborted) await this.#command('ROLLBACK').catch(() => undefined);
  }
}

function expectDone({ failure }: TextRun): void {
  if (failure !== undefined) throw failure;
}

/** A text that left the transaction in another state than it has to, though the server is content with it. */
function wrongEnd({ status, tags }: TextRun, isSingleTransaction: boolean, sql: string): GateError | undefined {
  if (!isSingleTransaction) {
    if (status === 'I') return undefined;
    return new GateError('sql-error', 'the text ended inside a transaction, which was rolled back', {
      hint: 'End it with COMMIT, or leave out BEGIN: the statements of one text are one transaction by themselves.',
    });
  }
  const rolledBack = tags.indexOf('ROLLBACK');
  // ROLLBACK AND CHAIN has the tag of ROLLBACK TO SAVEPOINT. Where the word stands in a text with either, the text is not trusted.
  const isAnother = rolledBack !== -1 && (/\bchain\b/i.test(sql) || tags.slice(rolledBack).some((tag) => tag === 'BEGIN' || tag === 'START TRANSACTION'));
  if (status === 'T' && !tags.some(isCommit) && !isAnother) return undefined;
  const what = tags.some(isCommit)
    ? 'the text committed the transaction itself, so everything up to its COMMIT has taken effect'
    : 'the text ended the transaction itself, so everything up to there was rolled back';
  return new GateError('sql-error', what, { hint: 'Leave BEGIN, COMMIT and ROLLBACK out of texts that run under --single-transaction.' });
}

function isCommit(tag: string): boolean {
  return tag === 'COMMIT' || tag === 'PREPARE TRANSACTION';
}

function fateOf({ status, tags, failure }: TextRun, isSingleTransaction: boolean): Fate {
  if (tags.some(isCommit)) return 'partly';
  // A transaction that is not committed ends with its connection.
  if (isSingleTransaction) return 'undone';
  if (status === '') return 'unknown';
  return failure === undefined && status === 'I' ? 'done' : 'undone';
}
