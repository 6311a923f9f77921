/** Calls between two processes of one relay: all of a turn in one message, answers as they come, aborts passed on. */
import { errorBody } from './exchange.ts';
import { GateError, isErrorCode, messageOf } from '../errors/errors.ts';
import type { ErrorBody } from '../api/api.ts';

/** What one side can be asked for. A call that can be aborted takes an AbortSignal as its last argument. */
// oxlint-disable-next-line typescript/no-explicit-any -- The arguments are checked where a call is made.
export type Calls = { readonly [name: string]: (...args: any[]) => unknown };

export type Channel = {
  /** Sends what structured clone can carry. */
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
};

type Failure = ErrorBody['error'];
type Part =
  | readonly ['call', number, string, readonly unknown[], boolean]
  | readonly ['done', number, unknown]
  | readonly ['failed', number, Failure]
  | readonly ['abort', number];

type Waiting = { readonly resolve: (value: never) => void; readonly reject: (error: unknown) => void };

export class Peer<Theirs extends Calls> {
  readonly #channel: Channel;
  readonly #mine: Calls;
  readonly #onBug: (error: unknown) => void;
  readonly #waiting = new Map<number, Waiting>();
  /** Calls of the other side that may be aborted. */
  readonly #abortable = new Map<number, AbortController>();
  readonly #running = new Set<Promise<unknown>>();
  #parts: Part[] = [];
  #lastId = 0;
  #closed: GateError | undefined;

  /** Calls of the other side begin in the order in which they were made, before anything else happens here. */
  constructor(channel: Channel, mine: Calls, onBug: (error: unknown) => void) {
    this.#channel = channel;
    this.#mine = mine;
    this.#onBug = onBug;
    channel.onMessage((message) => {
      for (const part of message as Part[]) this.#take(part);
    });
  }

  /** Rejects with what the other side failed with; with the reason of `signal` at once where that is aborted. */
  call<Name extends keyof Theirs & string>(name: Name, args: CallArguments<Theirs[Name]>, signal?: AbortSignal): Promise<Awaited<ReturnType<Theirs[Name]>>> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const id = ++this.#lastId;
    this.#send(['call', id, name, args, signal !== undefined]);
    const answer = new Promise<Awaited<ReturnType<Theirs[Name]>>>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    if (signal === undefined) return answer;
    const abort = () => {
      this.#send(['abort', id]);
      this.#waiting.get(id)?.reject(signal.reason);
      this.#waiting.delete(id);
    };
    signal.addEventListener('abort', abort, { once: true });
    return answer.finally(() => signal.removeEventListener('abort', abort));
  }

  /** The other side is gone: what waits for it fails, and what it waits for is aborted. */
  close(error: GateError): void {
    this.#closed = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    for (const controller of this.#abortable.values()) controller.abort(error);
  }

  /** Resolves when nothing that the other side has asked for is under way any more. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  #send(part: Part): void {
    if (this.#closed !== undefined) return;
    this.#parts.push(part);
    if (this.#parts.length > 1) return;
    setImmediate(() => {
      const parts = this.#parts;
      this.#parts = [];
      if (this.#closed === undefined) this.#channel.send(parts);
    });
  }

  #take(part: Part): void {
    const [kind, id, value, args, isAbortable] = part;
    if (kind === 'call') return this.#run(id, value, args, isAbortable);
    if (kind === 'abort') return this.#abortable.get(id)?.abort(new GateError('cancelled', 'it is not waited for any more'));
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (kind === 'done') waiting?.resolve(value as never);
    else waiting?.reject(revive(value));
  }

  #run(id: number, name: string, args: readonly unknown[], isAbortable: boolean): void {
    const controller = isAbortable ? new AbortController() : undefined;
    if (controller !== undefined) this.#abortable.set(id, controller);
    const running = this.#answer(id, name, controller === undefined ? args : [...args, controller.signal]).finally(() => {
      this.#running.delete(running);
      this.#abortable.delete(id);
    });
    this.#running.add(running);
  }

  async #answer(id: number, name: string, args: readonly unknown[]): Promise<void> {
    try {
      const value = await this.#mine[name]?.(...args);
      this.#send(['done', id, value]);
    } catch (error) {
      if (!(error instanceof GateError)) this.#onBug(error);
      const known = error instanceof GateError ? error : new GateError('internal', messageOf(error));
      this.#send(['failed', id, errorBody(known).error]);
    }
  }
}

type CallArguments<Call> = Call extends (...args: infer All) => unknown ? (All extends readonly [...infer Rest, AbortSignal] ? Rest : All) : never;

function revive({ code, message, hint, rule, requestId }: Failure): GateError {
  return new GateError(isErrorCode(code) ? code : 'internal', message, {
    ...(hint !== undefined && { hint }),
    ...(rule !== undefined && { rule }),
    ...(requestId !== undefined && { requestId }),
  });
}

/** An error as it crosses to another process, and back. */
export const errorAcross = { pack: (error: GateError): Failure => errorBody(error).error, unpack: revive };
