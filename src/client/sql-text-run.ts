/** One SQL text on its way: what is sent for it, and what each message of the server means for its outcome. */
import { serialize } from 'pg-protocol';
import type {
  BackendMessage,
  CommandCompleteMessage,
  CopyDataMessage,
  CopyResponse,
  DataRowMessage,
  NoticeMessage,
  ReadyForQueryMessage,
  RowDescriptionMessage,
} from 'pg-protocol/dist/messages.js';
import { GateError } from '../errors/errors.ts';
import { errorOf, isFatal, unexpected, type SqlConnection } from './sql-connection.ts';
import { formatNotice } from './sql-error.ts';
import type { SqlHandlers, SqlRow, SqlText } from './sql-text.ts';

/** The last status that the server reported: idle, in a transaction, in a failed one; empty before it did. */
export type Status = '' | 'I' | 'T' | 'E';

export type TextRunOptions = {
  readonly connection: SqlConnection;
  readonly text: SqlText;
  readonly handlers: SqlHandlers;
  /** No handler is called any more, and none is waited for. */
  readonly stop: AbortSignal;
  /** More rows of the result are not fetched; undefined for all. */
  readonly rowsMax: number | undefined;
};

/** Rows and copy data that arrived side by side are handed on together. */
type Batch = readonly [BackendMessage, ...BackendMessage[]];

/** These say nothing about whether a statement that was held runs by now. */
const beforeRelease: ReadonlySet<string> = new Set(['parseComplete', 'notice', 'parameterStatus', 'notification', 'error', 'readyForQuery']);

export class TextRun {
  readonly #options: TextRunOptions;
  /** With parameters or a limit it takes the extended protocol, which knows one statement per text. */
  readonly #isExtended: boolean;
  readonly #tags: string[] = [];
  #rows = 0;
  #failure: GateError | undefined;
  #status: Status = '';
  #held: string | undefined;

  constructor(options: TextRunOptions) {
    this.#options = options;
    const { text, rowsMax } = options;
    this.#isExtended = rowsMax !== undefined || (text.parameters ?? []).length > 0;
  }

  /** Until the server is ready again. Fails at once where the connection cannot go on; else see `failure`. */
  async run(): Promise<void> {
    const { connection, text, rowsMax } = this.#options;
    connection.write(this.#isExtended ? extended(text, rowsMax) : serialize.query(text.sql));
    while (this.#status === '') {
      for (const batch of batchesOf(await connection.read())) await this.#take(batch);
    }
  }

  get status(): Status {
    return this.#status;
  }

  /** The error that the server or the relay answered with; the first one counts. */
  get failure(): GateError | undefined {
    return this.#failure;
  }

  /** Of the statements that ran, in order; empty for one whose rows were cut, because the server tells none. */
  get tags(): readonly string[] {
    return this.#tags;
  }

  /** The relay says beside the stream that this text waits for approval. */
  noteHeld(requestId: string): void {
    this.#held = requestId;
  }

  async #take(batch: Batch): Promise<void> {
    const { handlers } = this.#options;
    const [message] = batch;
    if (this.#held !== undefined && !beforeRelease.has(message.name)) {
      handlers.released?.(this.#held);
      this.#held = undefined;
    }
    switch (message.name as string) {
      case 'rowDescription': {
        const { fields } = message as RowDescriptionMessage;
        const described = fields.map(({ name, dataTypeID }) => ({ name, typeOid: dataTypeID }));
        this.#rows = 0;
        return this.#handOn(() => handlers.fields(described));
      }
      case 'dataRow':
        return this.#takeRows(batch.map((row) => (row as DataRowMessage).fields as SqlRow));
      case 'copyOutResponse':
        this.#checkCopyOut();
        return this.#handOn(() => handlers.copy((message as CopyResponse).binary));
      case 'copyData':
        return this.#handOn(() => handlers.copyData(batch.map((piece) => (piece as CopyDataMessage).chunk)));
      case 'copyInResponse':
        return this.#refuseCopyIn();
      case 'commandComplete':
        return this.#complete((message as CommandCompleteMessage).text);
      default:
        return this.#takeOther(message);
    }
  }

  #takeOther(message: BackendMessage): Promise<void> | void {
    const { handlers } = this.#options;
    switch (message.name as string) {
      case 'notice':
        if (handlers.held !== undefined && (message as NoticeMessage).routine === 'approval-pending') return;
        return handlers.notice(formatNotice(message as NoticeMessage));
      case 'error':
        this.#failure ??= explain(errorOf(message, this.#options.text.sql), this.#options);
        // Nothing follows such an error but the end of the connection.
        if (isFatal(message)) throw this.#failure;
        return;
      case 'readyForQuery':
        this.#status = (message as ReadyForQueryMessage).status as Status;
        return;
      case 'copyDone':
      case 'emptyQuery':
      case 'parameterStatus':
      case 'notification':
        return;
      case 'parseComplete':
      case 'bindComplete':
      case 'noData':
        if (this.#isExtended) return;
        throw unexpected(message);
      case 'portalSuspended':
        if (this.#options.rowsMax === undefined) throw unexpected(message);
        this.#tags.push('');
        return this.#handOn(() => handlers.cut?.(this.#options.rowsMax ?? 0) ?? Promise.resolve());
      default:
        throw unexpected(message);
    }
  }

  #complete(tag: string): Promise<void> {
    this.#tags.push(tag);
    return this.#handOn(() => this.#options.handlers.complete(tag));
  }

  /** One row more than wanted is asked for, because only that proves that there are more. */
  #takeRows(rows: readonly SqlRow[]): Promise<void> | void {
    const left = (this.#options.rowsMax ?? Infinity) - this.#rows;
    this.#rows += rows.length;
    const wanted = rows.length > left ? rows.slice(0, Math.max(0, left)) : rows;
    if (wanted.length > 0) return this.#handOn(() => this.#options.handlers.rows(wanted));
  }

  /** After an interrupt nobody waits for the rest, and a reader that stands still must not hold it up. */
  async #handOn(work: () => Promise<void>): Promise<void> {
    const { stop } = this.#options;
    if (stop.aborted) return;
    let onAbort: () => void = () => undefined;
    const aborted = new Promise<void>((resolve) => (onAbort = resolve));
    stop.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([work(), aborted]);
    } finally {
      stop.removeEventListener('abort', onAbort);
    }
  }

  /** A limit on rows of a portal does not hold for it. */
  #checkCopyOut(): void {
    if (this.#options.rowsMax === undefined) return;
    throw new GateError('not-supported', 'COPY … TO STDOUT knows no --max-rows; none of its rows were written', {
      hint: 'Put a LIMIT into it: COPY (SELECT … LIMIT 100) TO STDOUT, without --max-rows.',
    });
  }

  #refuseCopyIn(): void {
    const { connection } = this.#options;
    this.#failure ??= new GateError('not-supported', 'COPY … FROM STDIN has no data to read here', {
      hint: 'Use gate connect with psql and \\copy, or write the rows as INSERT … VALUES.',
    });
    connection.write(serialize.copyFail('gate exec has no data for COPY FROM STDIN'));
    // The server has passed over the Sync that was sent, since it was waiting for data.
    if (this.#isExtended) connection.write(serialize.sync());
  }
}

function extended({ sql, parameters = [] }: SqlText, rowsMax: number | undefined): Buffer {
  return Buffer.concat([
    serialize.parse({ text: sql, types: parameters.map(({ typeOid }) => typeOid) }),
    serialize.bind({ values: parameters.map(({ value }) => value) }),
    serialize.describe({ type: 'P' }),
    serialize.execute({ rows: rowsMax === undefined ? 0 : rowsMax + 1 }),
    serialize.sync(),
  ]);
}

function batchesOf(messages: readonly BackendMessage[]): Batch[] {
  const batches: [BackendMessage, ...BackendMessage[]][] = [];
  for (const message of messages) {
    const last = batches.at(-1);
    const isMore = (message.name === 'dataRow' || message.name === 'copyData') && last?.[0].name === message.name;
    if (last !== undefined && isMore) last.push(message);
    else batches.push([message]);
  }
  return batches;
}

/** What the server says of several statements in one Parse tells nobody which flag was wrong. */
function explain(error: GateError, { text, rowsMax }: TextRunOptions): GateError {
  const isSeveral = error.code === 'sql-error' && error.sqlstate === '42601' && /multiple (?:commands|statements)/.test(error.message);
  if (!isSeveral) return error;
  const flag = rowsMax !== undefined && (text.parameters ?? []).length === 0 ? '--max-rows' : 'parameters';
  return new GateError('usage', `with ${flag} a text is one statement, and this one has several`, {
    hint: 'Give each statement a --sql of its own; --single-transaction makes them one transaction. None of this text has run.',
    cause: error,
  });
}
