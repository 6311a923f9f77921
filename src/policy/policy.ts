/** From the text of a policy file to the policy, or to every problem in it with its place. */
import { createHash } from 'node:crypto';
import { parseYaml } from '../yaml/yaml-file.ts';
import { PolicyFile } from './policy-file.ts';
import { resolvePolicy } from './resolve.ts';
import type { Policy } from './role.ts';

export { Name } from './policy-file.ts';
export type { ApproverSet, Policy, Role, Rule } from './role.ts';

/** Parses a policy file. Fails with `config-invalid`; each line names file, line, column and what to write instead. */
export function parsePolicy(text: string, file: string): Policy {
  return parseYaml(text, file, PolicyFile, (value, report) => ({
    ...resolvePolicy(value, report),
    text,
    digest: createHash('sha256').update(text).digest('hex'),
  }));
}
