/** A short connection of the relay's own beside those of clients, for questions about the database. */
import { parse, serialize, type DatabaseError } from 'pg-protocol';
import type { BackendMessage, DataRowMessage } from 'pg-protocol/dist/messages.js';
import { GateError } from '../errors/errors.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { Target } from './config.ts';
import { openUpstream, type Upstream } from './upstream.ts';

export type SideRow = readonly (string | null)[];

export class SideConnection {
  readonly #upstream: Upstream;
  #onMessage: (message: BackendMessage) => void = () => undefined;
  #onClosed: () => void = () => undefined;

  private constructor(upstream: Upstream) {
    this.#upstream = upstream;
    void parse(upstream.socket, (message) => this.#onMessage(message)).catch(() => undefined);
    upstream.socket.on('close', () => this.#onClosed());
    upstream.socket.resume();
  }

  /** `settings` are start-up parameters. Nothing asked here writes. Fails with `upstream-unreachable`. */
  static async open(target: Target, settings: Readonly<Record<string, string>>): Promise<SideConnection> {
    const own = { application_name: 'gate relay', client_encoding: 'UTF8', default_transaction_read_only: 'on' };
    return new SideConnection(await openUpstream(target, { ...settings, ...own }));
  }

  /** The rows of one statement, with values in text format. Fails with `upstream-unreachable` and the server's message. */
  query(sql: string, values: readonly BoundValue[] = []): Promise<SideRow[]> {
    const { socket } = this.#upstream;
    return new Promise((resolve, reject) => {
      const rows: SideRow[] = [];
      let failure: GateError | undefined;
      this.#onClosed = () => reject(new GateError('upstream-unreachable', 'the database closed the connection'));
      this.#onMessage = (message) => {
        if ((message.name as string) === 'dataRow') rows.push((message as DataRowMessage).fields as SideRow);
        if ((message.name as string) === 'error') failure ??= new GateError('upstream-unreachable', (message as unknown as DatabaseError).message);
        if ((message.name as string) !== 'readyForQuery') return;
        if (failure === undefined) resolve(rows);
        else reject(failure);
      };
      socket.write(serialize.parse({ text: sql }));
      socket.write(bind(values));
      socket.write(Buffer.concat([serialize.describe({ type: 'P' }), serialize.execute({}), serialize.sync()]));
    });
  }

  close(): void {
    this.#upstream.socket.end(serialize.end());
    this.#upstream.socket.destroySoon();
  }
}

/** Text stays text, bytes stay bytes: pg-protocol chooses the format by the type of the value. */
function bind(values: readonly BoundValue[]): Buffer {
  return serialize.bind({
    values: values.map((value) => {
      if (value === null) return null;
      return value.format === 'text' ? value.bytes.toString('utf8') : value.bytes;
    }),
  });
}
