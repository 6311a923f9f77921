/** What the environment says about where the output of a command goes. */

export type Actions = {
  /** The Markdown of a job's summary is appended to it. */
  readonly summaryFile: string | undefined;
};

/** Undefined outside of GitHub Actions. */
export function readActions(environment: NodeJS.ProcessEnv = process.env): Actions | undefined {
  if (environment['GITHUB_ACTIONS'] !== 'true') return undefined;
  return { summaryFile: environment['GITHUB_STEP_SUMMARY'] || undefined };
}
