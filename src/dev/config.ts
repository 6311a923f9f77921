/** What the demo and the test stack take from the environment: programs on PATH, and what children inherit, a password. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The path of a program that can be run, or undefined. */
export function findOnPath(program: string): string | undefined {
  const candidates = (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, program));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** libpq's variable: the password of a database of the caller's own, which has no place on a command line. */
export function findDatabasePassword(): string | undefined {
  return process.env['PGPASSWORD'];
}

/** The caller's environment without its own settings of gate and libpq, which would reach into the demo. */
export function neutralEnvironment(own: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(?:GATE_|PG|CI$|CI_|GITHUB_|ACTIONS_|GITLAB_|CIRCLE|BUILDKITE|TFC_|GCE_|GOOGLE_|K_|CLOUD_RUN_|BUILD_ID$|KUBERNETES_)/.test(name));
  return { ...Object.fromEntries(inherited), NO_COLOR: '1', LC_ALL: 'C.UTF-8', ...own };
}
