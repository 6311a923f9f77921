/** The end of a command that has said all there is to say. */

/** Ends the program with this code and no further word: a signal's, or a child's own. */
export class ExitCode extends Error {
  constructor(readonly exitCode: number) {
    super(`exit ${exitCode}`);
  }
}
