/** The witness over HTTP: add-checkpoint for logs, and for auditors its key and the newest checkpoint of each log. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { formatVerifierKey, type NoteKey } from '../audit/checkpoint.ts';
import { addCheckpointBytesMax } from '../audit/witness-request.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { openWitnessState, originHash, type WitnessState, type WitnessStateOptions } from './witness-state.ts';
import { Witness } from './witness.ts';

const headerBytesMax = 8 * 1024;
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 30_000;
/** How long answers may take to be read when the witness stops. */
const closeTimeoutMs = 2000;
/** Open connections. */
const socketsMax = 500;

export type WitnessSettings = Pick<WitnessStateOptions, 'name' | 'write'> & {
  readonly stateDirectory: string;
  readonly logs: readonly NoteKey[];
  readonly listen: { readonly host: string; readonly port: number };
  readonly warn: (line: string) => void;
};

export type RunningWitness = {
  readonly url: string;
  /** The key to trust. */
  readonly verifierKey: string;
  /** Answers what was asked, then lets go of the state. */
  stop(): Promise<void>;
};

/** Fails with `config-invalid`. */
export async function startWitness(settings: WitnessSettings): Promise<RunningWitness> {
  const { logs, warn, name, write } = settings;
  const origins = [...new Set(logs.map((key) => key.name))];
  const state = await openWitnessState(settings.stateDirectory, {
    origins,
    ...(name !== undefined && { name }),
    ...(write !== undefined && { write }),
  });
  const witness = new Witness({ logs, state, now: () => new Date(), onContradiction: warn });
  try {
    const server = await listen(createRoutes({ witness, state, origins, warn }), settings.listen);
    return {
      url: server.url,
      verifierKey: formatVerifierKey(state.key),
      stop: async () => {
        await server.close();
        await witness.idle();
        await state.close();
      },
    };
  } catch (error) {
    await state.close();
    throw error;
  }
}

type RoutesOptions = Pick<WitnessSettings, 'warn'> & {
  readonly witness: Witness;
  readonly state: WitnessState;
  readonly origins: readonly string[];
};

function createRoutes({ witness, state, origins, warn }: RoutesOptions): Hono {
  const app = new Hono();
  const paths = origins.map((origin) => ({ origin, path: `/checkpoints/${originHash(origin)}` }));
  const page = [
    'A witness of transparency logs (c2sp.org/tlog-witness), run by gate. Its key:',
    formatVerifierKey(state.key),
    '',
    'The newest checkpoint that it has cosigned, for each of its logs:',
    ...paths.map(({ origin, path }) => `${path} ${origin}`),
  ].join('\n');
  app.get('/', (context) => context.text(`${page}\n`));
  app.post('/add-checkpoint', async (context) => {
    const text = await readText(context.req.raw);
    const { status, body, mediaType } = await witness.addCheckpoint(text);
    return context.text(body, status, mediaType === undefined ? {} : { 'content-type': mediaType });
  });
  for (const { origin, path } of paths) {
    app.get(path, async (context) => {
      const latest = await state.latest(origin);
      return latest === undefined ? context.text('nothing of this log was cosigned yet\n', 404) : context.text(latest.note);
    });
  }
  app.notFound((context) => context.text('there is nothing here\n', 404));
  app.onError((error, context) => {
    if (error instanceof GateError && error.code === 'too-large') return context.text(`${error.message}\n`, 413, { connection: 'close' });
    if (error instanceof GateError && error.code === 'usage') return context.text(`${error.message}\n`, 400);
    warn(`a request failed: ${messageOf(error)}`);
    return context.text('the witness failed on this request; nothing was signed\n', 500);
  });
  return app;
}

/** At most `addCheckpointBytesMax` are read, whatever the headers claim. What is signed are bytes, so they must be the text's. */
async function readText(request: Request): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > addCheckpointBytesMax) throw new GateError('too-large', `the request body is larger than ${addCheckpointBytesMax} bytes`);
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new GateError('usage', 'the request body is not UTF-8');
  }
}

async function listen(app: Hono, { host, port }: WitnessSettings['listen']): Promise<{ url: string; close(): Promise<void> }> {
  const listener = getRequestListener(app.fetch);
  const limits = { maxHeaderSize: headerBytesMax, headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs };
  const server = createServer(limits, (request, response) => void listener(request, response));
  server.maxConnections = socketsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'it is in use' : error.message;
      reject(new GateError('config-invalid', `cannot listen on ${host}:${port}: ${reason}`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
  const shown = host.includes(':') ? `[${host}]` : host;
  return {
    url: `http://${shown}:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), closeTimeoutMs).unref();
      }),
  };
}
