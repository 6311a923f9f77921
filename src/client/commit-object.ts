/** The commit that runs, as git has it: read from the working directory, without running anything that a repository configures. */
import { execFile } from 'node:child_process';
import { commitBytesMax } from '../api/workload-api.ts';

const gitMsMax = 2000;

export type CommitPlace = { readonly directory: string; readonly environment: NodeJS.ProcessEnv };

/** The object's bytes; of HEAD where `commit` is not there. Undefined without git, a repository, or an answer in time. */
export async function readCommitObject({ directory, environment }: CommitPlace, commit: string | undefined): Promise<Buffer | undefined> {
  if (commit !== undefined) {
    const named = await catCommit(directory, environment, commit);
    if (named !== undefined) return named;
  }
  return catCommit(directory, environment, 'HEAD');
}

/**
 * In CI the checkout often belongs to another user, which git refuses to look into. It may look here: cat-file runs no hook
 * and no filter, and with all transports off a partial clone fetches nothing.
 */
function catCommit(directory: string, environment: NodeJS.ProcessEnv, revision: string): Promise<Buffer | undefined> {
  const words = ['--no-pager', '--no-replace-objects', '-c', 'safe.directory=*', '-c', 'protocol.allow=never', 'cat-file', 'commit', revision];
  return new Promise((resolve) => {
    const options = {
      cwd: directory,
      env: gitEnvironment(environment),
      encoding: 'buffer',
      timeout: gitMsMax,
      killSignal: 'SIGKILL',
      maxBuffer: commitBytesMax,
      windowsHide: true,
    } as const;
    try {
      const child = execFile('git', words, options, (error, stdout) => resolve(error === null && stdout.length > 0 ? stdout : undefined));
      child.stdin?.end();
    } catch {
      resolve(undefined);
    }
  });
}

/** No token of this process is in it. */
function gitEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = ['PATH', 'Path', 'SystemRoot', 'TMPDIR', 'GIT_DIR', 'GIT_WORK_TREE'];
  const own = Object.fromEntries(kept.flatMap((name) => (environment[name] === undefined ? [] : [[name, environment[name]]])));
  return {
    ...own,
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: 'true',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_CONFIG_NOSYSTEM: '1',
  };
}
