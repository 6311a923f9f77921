/** The end of a command that has said all there is to say. */

/** Ends the program with this code and no further word: a signal's, or a child's own. */
export class ExitCode extends Error {
  constructor(readonly exitCode: number) {
    super(`exit ${exitCode}`);
  }
}

const signalExitCodes: Readonly<Record<string, number>> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** The end by a signal; `reason` is that of the aborted stop signal. */
export function exitOfSignal(reason: unknown): ExitCode {
  return new ExitCode(signalExitCodes[String(reason)] ?? 1);
}
