/** What the environment says about where the output of a command goes: a terminal that somebody watches, or a job of CI. */
import { isCi } from '../client/ci.ts';

export type Actions = {
  /** The Markdown of a job's summary is appended to it. */
  readonly summaryFile: string | undefined;
};

/** Undefined outside of GitHub Actions. */
export function readActions(environment: NodeJS.ProcessEnv = process.env): Actions | undefined {
  if (environment['GITHUB_ACTIONS'] !== 'true') return undefined;
  return { summaryFile: environment['GITHUB_STEP_SUMMARY'] || undefined };
}

export type TerminalWishes = {
  /** Nobody answers questions or watches a spinner, also where there is a terminal. */
  readonly isCi: boolean;
  /** Undefined where the terminal decides. */
  readonly color: 'always' | 'never' | undefined;
};

/** FORCE_COLOR goes before NO_COLOR, as in Node itself, and both before CI. */
export function readTerminalWishes(environment: NodeJS.ProcessEnv = process.env): TerminalWishes {
  return { isCi: isCi(environment), color: readColor(environment) };
}

function readColor(environment: NodeJS.ProcessEnv): TerminalWishes['color'] {
  const forced = environment['FORCE_COLOR'];
  if (forced !== undefined) return forced === '0' || forced === 'false' ? 'never' : 'always';
  return environment['NO_COLOR'] || isCi(environment) ? 'never' : undefined;
}
