/** The server's half of the Model Context Protocol (modelcontextprotocol.io/specification): life cycle, tools, cancellation. */
import { errorAnswer, isRecord, LineReader, parseLine, resultAnswer, RpcError, rpcErrors, type Answer, type Incoming, type Params, type RequestId } from './json-rpc.ts';
import { messageOf } from '../../errors/errors.ts';

/** Revisions that this server speaks, newest first. What it uses of them is the same in all, but for batches. */
export const protocolVersions = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'] as const;
const batchingVersion = '2025-03-26';
/** Calls that run at the same time. */
export const callsMax = 8;

export type Tool = {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly inputSchema: Params;
  readonly outputSchema: Params;
  readonly annotations: Readonly<Record<string, boolean>>;
};

export type ToolResult = {
  readonly content: readonly { readonly type: 'text'; readonly text: string }[];
  readonly structuredContent: Readonly<Record<string, unknown>>;
  readonly isError?: true;
};

export type Toolbox = {
  readonly tools: readonly Tool[];
  /** Never rejects for what a tool has refused or failed at: that is a result. Nobody reads the result once the signal is aborted. */
  readonly call: (name: string, input: Params, signal: AbortSignal) => Promise<ToolResult>;
};

export type McpOptions = {
  readonly version: string;
  readonly instructions: string;
  /** Once, when the client has said who it is: `name/version`, in the characters of the header Gate-Agent. */
  readonly open: (agent: string) => Toolbox;
  readonly write: (line: string) => Promise<void>;
  /** For people, beside the protocol. */
  readonly warn: (line: string) => void;
};

export class McpServer {
  readonly #options: McpOptions;
  readonly #lines = new LineReader();
  readonly #running = new Map<RequestId, AbortController>();
  readonly #work = new Set<Promise<void>>();
  #toolbox: Toolbox | undefined;
  #version: string = protocolVersions[0];

  constructor(options: McpOptions) {
    this.#options = options;
  }

  /** Answers go out as they are ready; nothing of this rejects but the writing. */
  take(chunk: Buffer): void {
    for (const text of this.#lines.read(chunk)) {
      if (text?.trim() === '') continue;
      const line = parseLine(text, this.#toolbox !== undefined && this.#version === batchingVersion);
      const work = this.#answerLine(line.messages, line.isBatch);
      this.#work.add(work);
      void work.finally(() => this.#work.delete(work));
    }
  }

  /** Lets what runs come to its end for so long, cancels the rest, and waits for it. */
  async stop(graceMs: number): Promise<void> {
    const timer = setTimeout(() => {
      for (const controller of this.#running.values()) controller.abort(new Error('the server stops'));
    }, graceMs);
    await Promise.allSettled(this.#work);
    clearTimeout(timer);
  }

  async #answerLine(messages: readonly Incoming[], isBatch: boolean): Promise<void> {
    const answers = (await Promise.all(messages.map((message) => this.#answer(message)))).filter((answer) => answer !== undefined);
    if (answers.length === 0) return;
    try {
      await this.#options.write(`${JSON.stringify(isBatch ? answers : answers[0])}\n`);
    } catch (error) {
      // The reader has gone; the end of the input ends the program.
      this.#options.warn(`an answer could not be written: ${messageOf(error)}`);
    }
  }

  async #answer(message: Incoming): Promise<Answer | undefined> {
    if (message.kind === 'answer') return undefined;
    if (message.kind === 'invalid') return errorAnswer(message.id, message.code, message.message);
    if (message.kind === 'notification') {
      if (message.method === 'notifications/cancelled') this.#cancel(message.params['requestId']);
      return undefined;
    }
    const { id, method, params } = message;
    if (this.#running.has(id)) return errorAnswer(id, rpcErrors.invalidRequest, 'a request with this id is still running');
    const controller = new AbortController();
    this.#running.set(id, controller);
    try {
      const result = await this.#dispatch(method, params, controller.signal);
      // Whoever cancelled a request waits for no answer.
      return controller.signal.aborted ? undefined : resultAnswer(id, result);
    } catch (error) {
      if (controller.signal.aborted) return undefined;
      if (error instanceof RpcError) return errorAnswer(id, error.code, error.message);
      this.#options.warn(`${method} failed: ${messageOf(error)}`);
      return errorAnswer(id, rpcErrors.internal, 'the server failed on this request');
    } finally {
      this.#running.delete(id);
    }
  }

  #cancel(id: unknown): void {
    if (typeof id === 'string' || typeof id === 'number') this.#running.get(id)?.abort(new Error('cancelled by the client'));
  }

  async #dispatch(method: string, params: Params, signal: AbortSignal): Promise<object> {
    if (method === 'ping') return {};
    if (method === 'initialize') return this.#initialize(params);
    if (this.#toolbox === undefined) throw new RpcError(rpcErrors.invalidRequest, 'the first request is initialize');
    switch (method) {
      case 'tools/list':
        return { tools: this.#toolbox.tools };
      case 'tools/call':
        return this.#call(this.#toolbox, params, signal);
      default:
        throw new RpcError(rpcErrors.methodNotFound, `there is no method ${method.slice(0, 100)}`);
    }
  }

  #initialize({ protocolVersion, clientInfo }: Params): object {
    if (this.#toolbox !== undefined) throw new RpcError(rpcErrors.invalidRequest, 'this connection is initialized already');
    if (typeof protocolVersion !== 'string') throw new RpcError(rpcErrors.invalidParams, 'protocolVersion is missing');
    this.#version = protocolVersions.find((version) => version === protocolVersion) ?? protocolVersions[0];
    this.#toolbox = this.#options.open(agentName(clientInfo));
    const { version, instructions } = this.#options;
    return { protocolVersion: this.#version, capabilities: { tools: {} }, serverInfo: { name: 'gate', title: 'gate: recorded database access', version }, instructions };
  }

  async #call({ tools, call }: Toolbox, params: Params, signal: AbortSignal): Promise<ToolResult> {
    const { name, arguments: input = {} } = params;
    if (typeof name !== 'string' || !tools.some((tool) => tool.name === name)) throw new RpcError(rpcErrors.invalidParams, `there is no tool ${String(name).slice(0, 100)}`);
    if (!isRecord(input)) throw new RpcError(rpcErrors.invalidParams, 'the arguments are not an object');
    if (this.#running.size > callsMax) throw new RpcError(rpcErrors.invalidRequest, `${callsMax} calls run already; wait for one of them`);
    return call(name, input, signal);
  }
}

/** What the client says of itself, in the characters of the header; anything else becomes a hyphen. */
export function agentName(clientInfo: unknown): string {
  const { name, version } = isRecord(clientInfo) ? clientInfo : {};
  const said = clean(name, 64).replace(/^[^A-Za-z0-9]+/, '') || 'unnamed-agent';
  const which = clean(version, 32);
  return which === '' ? said : `${said}/${which}`;
}

function clean(text: unknown, lengthMax: number): string {
  return typeof text === 'string' ? text.trim().replaceAll(/[^\w.+-]+/g, '-').slice(0, lengthMax) : '';
}
