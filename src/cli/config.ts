/** What the environment says about the terminal: whether anybody watches, and whether colour is wanted. */
import { isCi } from '../client/ci.ts';

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
