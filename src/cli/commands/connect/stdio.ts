/** One connection over standard input and output, for wrappers that bring their own listener. */
import { Duplex, Writable } from 'node:stream';
import { serveConnection, type ConnectionOptions } from '../../../client/local-connection.ts';
import { ERRORS, GateError, type ErrorCode } from '../../../errors/errors.ts';
import type { Io } from '../../io.ts';

/** Resolves when the client or the server has ended the connection as they like; fails where it broke. */
export async function serveStdio(io: Io, connection: ConnectionOptions, signal: AbortSignal): Promise<void> {
  let failure: GateError | undefined;
  const output = new Writable({
    write: (bytes: Buffer, _, done) => {
      void writeOut(io, bytes, done);
    },
  });
  const stream = Duplex.from({ readable: process.stdin, writable: output });
  const stop = () => stream.destroy();
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  const onBroken: ConnectionOptions['onBroken'] = (reason, code) => (failure ??= errorOf(reason, code));
  await serveConnection(stream, { ...connection, onBroken }, signal);
  signal.removeEventListener('abort', stop);
  process.stdin.destroy();
  if (failure !== undefined) throw failure;
}

async function writeOut(io: Io, bytes: Buffer, done: (error?: Error) => void): Promise<void> {
  try {
    await io.write(bytes);
    done();
  } catch (error) {
    done(error instanceof Error ? error : new Error(String(error)));
  }
}

/** The relay closes with the code of its error; what is no code of its own is the way to it. */
function errorOf(reason: string, closeCode: number): GateError {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  const code = closeCode >= 4000 ? codes.find((name) => ERRORS[name].close === closeCode) : undefined;
  return new GateError(code ?? 'relay-unreachable', reason);
}
