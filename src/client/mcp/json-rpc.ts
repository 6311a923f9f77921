/** JSON-RPC 2.0 in lines, as MCP's stdio transport has it: whole lines out of bytes, messages out of lines, answers into lines. */

/** Longest line that is read; whatever is longer is passed over to its end. */
export const lineBytesMax = 4 * 1024 * 1024;

export const rpcErrors = { parse: -32700, invalidRequest: -32600, methodNotFound: -32601, invalidParams: -32602, internal: -32603 } as const;

export type RequestId = string | number;
export type Params = Readonly<Record<string, unknown>>;

export type Incoming =
  | { readonly kind: 'request'; readonly id: RequestId; readonly method: string; readonly params: Params }
  | { readonly kind: 'notification'; readonly method: string; readonly params: Params }
  /** An answer to a request; this server makes none, so there is nothing to do. */
  | { readonly kind: 'answer' }
  | { readonly kind: 'invalid'; readonly id: RequestId | null; readonly code: number; readonly message: string };

/** A request that fails by the protocol's own rules, before any tool is involved. */
export class RpcError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Cuts a byte stream into lines and holds at most one unfinished line of `lineBytesMax`. */
export class LineReader {
  #parts: Buffer[] = [];
  #bytes = 0;

  /** Whole lines without their ends; undefined in the place of one that was too long. */
  *read(chunk: Buffer): Generator<string | undefined> {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      this.#keep(chunk.subarray(start, end));
      yield this.#take();
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > lineBytesMax) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }

  #take(): string | undefined {
    const line = this.#bytes > lineBytesMax ? undefined : Buffer.concat(this.#parts).toString('utf8');
    this.#parts = [];
    this.#bytes = 0;
    return line;
  }
}

/** One line: one message, or several where it is a batch. */
export type Line = { readonly messages: readonly Incoming[]; readonly isBatch: boolean };

/** `mayBatch`: only one revision of MCP has batches. */
export function parseLine(line: string | undefined, mayBatch: boolean): Line {
  if (line === undefined) return single(invalid(null, rpcErrors.invalidRequest, `a message may be ${lineBytesMax} bytes long at most`));
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return single(invalid(null, rpcErrors.parse, 'the line is not JSON'));
  }
  if (!Array.isArray(value)) return single(classify(value));
  if (!mayBatch) return single(invalid(null, rpcErrors.invalidRequest, 'this revision of the protocol has no batches'));
  if (value.length === 0) return single(invalid(null, rpcErrors.invalidRequest, 'the batch is empty'));
  return { messages: value.map(classify), isBatch: true };
}

function single(message: Incoming): Line {
  return { messages: [message], isBatch: false };
}

function classify(value: unknown): Incoming {
  if (!isRecord(value) || value['jsonrpc'] !== '2.0') return invalid(null, rpcErrors.invalidRequest, 'the message is not of JSON-RPC 2.0');
  const { id, method, params } = value;
  const isId = typeof id === 'string' || (typeof id === 'number' && Number.isFinite(id));
  if (method === undefined) return 'result' in value || 'error' in value ? { kind: 'answer' } : invalid(isId ? id : null, rpcErrors.invalidRequest, 'the message has no method');
  if (typeof method !== 'string') return invalid(isId ? id : null, rpcErrors.invalidRequest, 'the method is not text');
  if (params !== undefined && !isRecord(params)) return invalid(isId ? id : null, rpcErrors.invalidParams, 'the parameters are not an object');
  if (!('id' in value)) return { kind: 'notification', method, params: params ?? {} };
  if (!isId) return invalid(null, rpcErrors.invalidRequest, 'the id is neither text nor a number');
  return { kind: 'request', id, method, params: params ?? {} };
}

function invalid(id: RequestId | null, code: number, message: string): Incoming {
  return { kind: 'invalid', id, code, message };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export type Answer = Readonly<Record<string, unknown>>;

export function resultAnswer(id: RequestId, result: object): Answer {
  return { jsonrpc: '2.0', id, result };
}

export function errorAnswer(id: RequestId | null, code: number, message: string): Answer {
  return { jsonrpc: '2.0', id, error: { code, message } };
}
