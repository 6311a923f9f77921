/** Runs one SQL text over a tunnel of its own, without a local port, and hands on what comes back as it comes. */
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
import type { TunnelNews } from '../api/api.ts';
import { GateError } from '../errors/errors.ts';
import type { OpenSession } from './session.ts';
import { errorOf, isFatal, logIn, SqlConnection, unexpected, type CancelKey } from './sql-connection.ts';
import { formatNotice } from './sql-error.ts';

/** After a cancel request the answer is awaited this long; then the tunnel is cut, which cancels as well. */
const cancelTimeoutMs = 10_000;

export type SqlField = { readonly name: string; readonly typeOid: number };
/** Values in PostgreSQL's text format. */
export type SqlRow = readonly (string | null)[];

/** Called in the server's order, one at a time; nothing more is read from the tunnel while one is pending. */
export type SqlHandlers = {
  /** A result with rows begins. */
  readonly fields: (fields: readonly SqlField[]) => Promise<void>;
  readonly rows: (rows: readonly SqlRow[]) => Promise<void>;
  /** COPY … TO STDOUT begins. */
  readonly copy: (isBinary: boolean) => Promise<void>;
  /** Its data; PostgreSQL sends one piece per row. Valid until the promise settles. */
  readonly copyData: (pieces: readonly Buffer[]) => Promise<void>;
  /** A statement is done; the tag is PostgreSQL's, as in `INSERT 0 1`. */
  readonly complete: (tag: string) => Promise<void>;
  /** Of a single statement there are more rows than were to be fetched; called in place of `complete`. */
  readonly suspended?: () => Promise<void>;
  /** The statement waits for approval; called again and again while it does. A notice says the same. */
  readonly held?: (news: TunnelNews) => void;
  /** A notice as psql prints it. */
  readonly notice: (text: string) => void;
};

export type SqlRequest = {
  /** The relay's URL without a trailing slash. */
  readonly relay: string;
  readonly session: OpenSession;
  readonly accessToken: () => Promise<string>;
  /** As in RelayRequest. */
  readonly agent?: string;
  /** One statement, with its parameters as text, of which at most so many rows are fetched. */
  readonly single?: { readonly parameters: readonly (string | null)[]; readonly rowsMax: number };
  /** One or more statements; PostgreSQL runs them as one transaction unless they say otherwise. */
  readonly sql: string;
  readonly handlers: SqlHandlers;
  /** Cancels what runs on the server; no handler is called any more, and the promise rejects or resolves as it went. */
  readonly signal: AbortSignal;
};

/**
 * Resolves with the number of statements that ran, when the server has confirmed them all. Fails with the relay's own
 * refusal, with SqlError for an error of the database, with `sql-error` where a transaction was left open (it is
 * rolled back), with `relay-unreachable` when the tunnel broke, and with whatever a handler threw.
 */
export async function runSql(request: SqlRequest): Promise<number> {
  const { signal } = request;
  const connection = await openConnection(request);
  try {
    const key = await logIn(connection, request.session);
    if (signal.aborted) throw new GateError('session-ended', 'interrupted before anything was run');
    let timer: NodeJS.Timeout | undefined;
    const onAbort = () => {
      timer = setTimeout(() => connection.abandon(), cancelTimeoutMs);
      // Where the request cannot be delivered, the time limit ends the wait.
      void cancel(request, key).catch(() => undefined);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const run = await runQuery(connection, request);
      await connection.close();
      return run.finish();
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  } finally {
    connection.abandon();
  }
}

async function openConnection({ relay, session, accessToken, agent, handlers }: SqlRequest): Promise<SqlConnection> {
  return SqlConnection.open({ relay, session: session.id, accessToken: await accessToken(), ...(agent !== undefined && { agent }) }, handlers.held);
}

/** A cancel request travels on a connection of its own, which the server closes without an answer. */
async function cancel(request: SqlRequest, key: CancelKey): Promise<void> {
  const connection = await openConnection(request);
  connection.write(serialize.cancel(key.pid, key.secret));
  await connection.closed();
}

async function runQuery(connection: SqlConnection, request: SqlRequest): Promise<QueryRun> {
  const run = new QueryRun(connection, request);
  connection.write(request.single === undefined ? serialize.query(request.sql) : singleStatement(request.sql, request.single));
  while (!run.isReady) {
    for (const batch of batchesOf(await connection.read())) await run.take(batch);
  }
  return run;
}

function singleStatement(sql: string, { parameters, rowsMax }: NonNullable<SqlRequest['single']>): Buffer {
  const values = [...parameters];
  return Buffer.concat([
    serialize.parse({ text: sql }),
    serialize.bind({ values }),
    serialize.describe({ type: 'P' }),
    serialize.execute({ rows: rowsMax }),
    serialize.sync(),
  ]);
}

/** Rows and copy data that arrived side by side are handed on together. */
type Batch = readonly [BackendMessage, ...BackendMessage[]];

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

class QueryRun {
  readonly #connection: SqlConnection;
  readonly #request: SqlRequest;
  #statements = 0;
  #failure: GateError | undefined;
  #status = '';

  constructor(connection: SqlConnection, request: SqlRequest) {
    this.#connection = connection;
    this.#request = request;
  }

  get isReady(): boolean {
    return this.#status !== '';
  }

  async take(batch: Batch): Promise<void> {
    const { handlers } = this.#request;
    const [message] = batch;
    switch (message.name as string) {
      case 'rowDescription': {
        const { fields } = message as RowDescriptionMessage;
        const described = fields.map(({ name, dataTypeID }) => ({ name, typeOid: dataTypeID }));
        return this.#handOn(() => handlers.fields(described));
      }
      case 'dataRow':
        return this.#handOn(() => handlers.rows(batch.map((row) => (row as DataRowMessage).fields as SqlRow)));
      case 'copyOutResponse':
        return this.#handOn(() => handlers.copy((message as CopyResponse).binary));
      case 'copyData':
        return this.#handOn(() => handlers.copyData(batch.map((piece) => (piece as CopyDataMessage).chunk)));
      case 'copyInResponse':
        return this.#refuseCopyIn();
      case 'commandComplete':
        this.#statements++;
        return this.#handOn(() => handlers.complete((message as CommandCompleteMessage).text));
      case 'portalSuspended':
        if (this.#request.single === undefined) throw unexpected(message);
        this.#statements++;
        return this.#handOn(async () => handlers.suspended?.());
      case 'notice':
        if (handlers.held !== undefined && (message as NoticeMessage).routine === 'approval-pending') return;
        return handlers.notice(formatNotice(message as NoticeMessage));
      case 'error':
        this.#failure ??= errorOf(message, this.#request.sql);
        // Nothing follows such an error but the end of the connection.
        if (isFatal(message)) throw this.#failure;
        return;
      case 'readyForQuery':
        this.#status = (message as ReadyForQueryMessage).status;
        return;
      case 'parseComplete':
      case 'bindComplete':
      case 'noData':
        if (this.#request.single === undefined) throw unexpected(message);
        return;
      case 'copyDone':
      case 'emptyQuery':
      case 'parameterStatus':
      case 'notification':
        return;
      default:
        throw unexpected(message);
    }
  }

  /** The number of statements that ran, once the server is ready; fails where they did not take effect. */
  finish(): number {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#status !== 'I') {
      throw new GateError('sql-error', 'the text ended inside a transaction, which was rolled back', {
        hint: 'End it with COMMIT, or leave out BEGIN: the statements of one text are one transaction by themselves.',
      });
    }
    return this.#statements;
  }

  /** After an interrupt nobody waits for the rest, and a reader that stands still must not hold it up. */
  async #handOn(work: () => Promise<void>): Promise<void> {
    const { signal } = this.#request;
    if (signal.aborted) return;
    let onAbort: () => void = () => undefined;
    const aborted = new Promise<void>((resolve) => (onAbort = resolve));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([work(), aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #refuseCopyIn(): void {
    this.#failure ??= new GateError('not-supported', 'COPY … FROM STDIN has no data to read here', {
      hint: 'Use gate connect with psql and \\copy, or write the rows as INSERT … VALUES.',
    });
    this.#connection.write(serialize.copyFail('gate exec has no data for COPY FROM STDIN'));
  }
}
