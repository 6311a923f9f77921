/** The policy file: who may take which role on which target, and what each role may run. */
import { createHash } from 'node:crypto';
import * as z from 'zod/mini';
import type { ApprovalRule } from '../grant/request.ts';
import { statementKinds } from '../sql/kind.ts';
import { parseDuration } from './duration.ts';
import { parseYaml } from '../yaml/yaml-file.ts';

/**
 * Names of targets and roles: they appear in URLs, file names and error texts. One of digits alone would lose its place
 * in the order of the file, because JavaScript sorts such keys first.
 */
export const Name = z
  .string()
  .check(
    z.regex(/^(?!\d+$)[a-z0-9][a-z0-9._-]{0,62}$/, 'write a name of a-z, 0-9, ".", "_" and "-", not of digits alone'),
  );

/** "90s", "30m", "8h" → seconds. */
export const Duration = z.pipe(
  z.string().check(z.regex(/^[1-9]\d{0,5}[smh]$/, 'write a duration like 90s, 30m or 8h')),
  z.transform((text: string) => parseDuration(text) ?? 0),
);

const Group = z.string().check(z.minLength(1));

const Role = z.strictObject({
  /** Any of these groups may take the role. */
  groups: z.array(Group).check(z.minLength(1, 'name at least one group')),
  /** The statement kinds that the role may run; everything else is refused. */
  allow: z
    .array(z.enum(statementKinds, `write kinds out of ${statementKinds.join(', ')}`))
    .check(z.minLength(1, 'name at least one kind')),
  require: z._default(z.array(z.enum(['reason', 'ticket'])), []),
  maxDuration: z._default(Duration, 3600),
});

const File = z.strictObject({
  /** Groups that may list and replay everybody's sessions; others see their own. */
  auditors: z._default(z.array(Group), []),
  targets: z.record(Name, z.strictObject({ roles: z.record(Name, Role) })),
});

/** People who may vote on requests: members of any of the groups, the named subjects, and whom the filter lets in. */
export type ApproverSet = {
  readonly name: string;
  readonly groups: readonly string[];
  readonly subjects: readonly string[];
};

export type Role = z.infer<typeof Role> & {
  readonly name: string;
  /** The grant itself needs these approvals before it is given. */
  readonly approval?: ApprovalRule;
  /** The grant opens at once; approvers are told, and must look at it afterwards. */
  readonly review?: ApprovalRule;
  /** Longest time that one statement may run. */
  readonly statementTimeoutMs?: number;
};
export type Policy = {
  readonly auditors: readonly string[];
  /** Groups that may revoke grants and end sessions of others. They approve nothing by that. */
  readonly administrators: readonly string[];
  readonly approvers: ReadonlyMap<string, ApproverSet>;
  /** Target name → its roles in the order of the file. */
  readonly targets: ReadonlyMap<string, readonly Role[]>;
  /** SHA-256 of the file's text, in hex; stands in every session's record. */
  readonly digest: string;
};

/** Parses a policy file. Fails with `config-invalid`, naming file, line and column. */
export function parsePolicy(text: string, file: string): Policy {
  const { auditors, targets } = parseYaml(text, file, File);
  const entries = Object.entries(targets).map(([target, { roles }]): [string, readonly Role[]] => [
    target,
    Object.entries(roles).map(([name, role]) => ({ ...role, name })),
  ]);
  return { auditors, administrators: [], approvers: new Map(), targets: new Map(entries), digest: createHash('sha256').update(text).digest('hex') };
}
