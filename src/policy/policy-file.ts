/** The policy file as it is written: its keys, their values, and what each is for, as one schema. */
import * as z from 'zod/mini';
import { bucketUnits, detectorKinds, maskLevels } from '../mask/plan.ts';
import { statementKinds } from '../sql/kind.ts';
import { presetNames } from '../workload/workload.ts';
import { conditionLengthMax } from './condition.ts';
import { parseDuration } from './duration.ts';
import { textPatternLengthMax } from './pattern.ts';

/** Signatures by a key that the verifier need not keep secret. */
export const asymmetricAlgorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] as const;

/** A note for editors and for docs/policy.schema.json. */
const about = z.describe;

/**
 * Names of targets, roles and rules: they appear in URLs, file names and error texts. One of digits alone would lose its
 * place in the order of the file, because JavaScript sorts such keys first.
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

const Timeout = z.pipe(
  z.string().check(z.regex(/^[1-9]\d{0,5}(?:ms|[smh])$/, 'write a time like 500ms, 30s or 5m')),
  z.transform((text: string) => (text.endsWith('ms') ? Number(text.slice(0, -2)) : (parseDuration(text) ?? 0) * 1000)),
);

const Text = z.string().check(z.minLength(1), z.maxLength(1000));
const Groups = z.array(z.string().check(z.minLength(1)));
const Names = z.array(Name).check(z.minLength(1, 'name at least one'));
const Count = z.int().check(z.minimum(1), z.maximum(20));
const Rows = z.int().check(z.minimum(1), z.maximum(1_000_000_000));
const Kinds = z
  .array(z.enum(statementKinds, `write kinds out of ${statementKinds.join(', ')}`))
  .check(z.minLength(1, 'name at least one kind'));
const Condition = z.string().check(z.minLength(1), z.maxLength(conditionLengthMax));

/** A segment is a whole name or `*`: what begins with something else is not guessed from its beginning. */
const segment = String.raw`(?:\*|[^.*\s"?]+)`;
const TablePattern = z
  .string()
  .check(z.regex(new RegExp(`^(?:\\*|${segment}\\.${segment})$`), 'write schema.table, as in public.users; *.users is in any schema, public.* all of one, * everything'));
const FunctionPattern = z
  .string()
  .check(z.regex(new RegExp(`^(?:\\*|[^.*\\s"?]+|${segment}\\.${segment})$`), 'write pg_sleep for a built-in function, schema.name for another, or * for a whole segment'));
const CommandPattern = z
  .string()
  .check(z.regex(/^[A-Z]+(?: [A-Z]+)*(?: \*)?$/, 'write a command tag in capitals, as in DELETE or DROP TABLE; DROP * is each that begins so'));

const rowsMax = z.union([Rows, z.strictObject({ read: z.optional(Rows), write: z.optional(Rows) })]);

export const ApprovalFile = z.strictObject({
  by: z.optional(Names.check(about('Approver sets. A member of any of them may vote; without it, those of the role\'s approvers.'))),
  count: z.optional(Count.check(about('How many distinct people must approve.'))),
  denials: z.optional(Count.check(about('How many denials end it.'))),
  within: z.optional(Duration),
});

const ApproverSetFile = z.strictObject({
  groups: z.optional(Groups.check(z.minLength(1, 'name at least one group'))),
  subjects: z.optional(z.array(Text).check(z.minLength(1, 'name at least one subject'), about('People by the `sub` of their login.'))),
  when: z.optional(Condition.check(about('CEL over approver and request: who of them may vote on which request.'))),
});

const shared = {
  require: z.optional(z.array(z.enum(['reason', 'ticket', 'human'])).check(about('What must be said when access is asked for.'))),
  rowsMax: z.optional(rowsMax),
  statementTimeout: z.optional(Timeout),
  recordRows: z.optional(z.boolean().check(about('The rows that the client gets are recorded, masked as it sees them, up to a limit, and sealed.'))),
};

export const RuleFile = z.strictObject({
  name: Name.check(about('Unique in the role. Decisions name it as <target>/<role>/<rule>.')),
  effect: z.enum(['allow', 'hold', 'deny']),
  kinds: z.optional(Kinds),
  commands: z.optional(z.array(CommandPattern).check(z.minLength(1, 'name at least one command'))),
  tables: z.optional(z.array(TablePattern).check(z.minLength(1, 'name at least one table'))),
  functions: z.optional(z.array(FunctionPattern).check(z.minLength(1, 'name at least one function'))),
  bounded: z.optional(z.boolean().check(about('Whether a limit on the rows that it changes can be proven from its text and the unique keys.'))),
  maxRows: z.optional(z.int().check(z.minimum(0), about('It is proven to change at most so many rows.'))),
  when: z.optional(Condition.check(about('CEL over principal, grant, target, statement and now.'))),
  reason: z.optional(Text.check(about('What people are told.'))),
  approval: z.optional(ApprovalFile),
  ...shared,
});

const roleFields = {
  use: z.optional(Name.check(about('A role of `roles:` to begin from.'))),
  preset: z.optional(Name.check(about('A role that comes with gate to begin from: see gate policy presets.'))),
  groups: z.optional(Groups.check(z.minLength(1, 'name at least one group'))),
  when: z.optional(Condition.check(about('CEL over principal, target and now: whether the principal may take the role.'))),
  allow: z.optional(Kinds.check(about('Kinds that run where no rule has decided; everything else is refused.'))),
  ticketPattern: z.optional(z.string().check(z.minLength(1), z.maxLength(textPatternLengthMax), about('RE2: what a ticket must look like, as a whole.'))),
  maxDuration: z.optional(Duration),
  readOnly: z.optional(z.boolean().check(about('Database sessions are opened read-only, and nothing can lift that.'))),
  approvers: z.optional(Names.check(about('Approver sets for every approval and review of this role that names none.'))),
  approval: z.optional(ApprovalFile.check(about('What it takes to be granted the role at all.'))),
  review: z.optional(ApprovalFile.check(about('The grant opens at once, approvers are told, and must look at it afterwards.'))),
  rules: z.optional(z.array(RuleFile).check(z.maxLength(5000))),
  ...shared,
};

export const RoleFile = z.strictObject(roleFields);
export type RoleFile = z.infer<typeof RoleFile>;
export type RuleFile = z.infer<typeof RuleFile>;
export type ApprovalFile = z.infer<typeof ApprovalFile>;

const ColumnPattern = z
  .string()
  .check(z.regex(new RegExp(`^${segment}\\.${segment}\\.${segment}$`), 'write schema.table.column, as in public.users.email; * stands for a whole segment'));
const Columns = z.array(ColumnPattern).check(z.minLength(1, 'name at least one column'));
const Kept = z.int().check(z.minimum(1), z.maximum(32));

/** `null` is a word here as well as YAML's own null. */
const MaskFile = z.union(
  [
    z.null(),
    z.enum(['null', 'redact', 'email', 'hash', 'clear']),
    z.strictObject({ partial: z.strictObject({ last: z.optional(Kept), first: z.optional(Kept) }) }),
    z.strictObject({ bucket: z.strictObject({ size: z.optional(z.number().check(z.gt(0))), unit: z.optional(z.enum(bucketUnits)) }) }),
    z.strictObject({ constant: z.union([z.string().check(z.maxLength(1000)), z.number(), z.boolean()]) }),
    z.strictObject({ sql: z.string().check(z.minLength(1), z.maxLength(1000)) }),
  ],
  'write null, redact, email, hash, clear, or one of { partial: { last: 4 } }, { bucket: { size: 10 } }, { bucket: { unit: month } }, { constant: … }, { sql: … }',
);

const ExemptionFile = z.strictObject({
  groups: z.optional(Groups.check(z.minLength(1, 'name at least one group'))),
  roles: z.optional(Names),
  reason: Text.check(about('Why they may see the raw values.')),
  until: z.string().check(
    z.regex(/^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2}))?$/, 'write a date like 2027-06-30, or a time like 2027-06-30T18:00:00Z'),
    about('The exemption ends then; a date is the end of that day in UTC.'),
  ),
});

const MaskRuleFile = z.strictObject({
  name: Name.check(about('Unique in the target. The record names it as <target>/masks/<name>.')),
  columns: z.optional(Columns),
  tags: z.optional(Names.check(about('Sets of columns of tags:.'))),
  mask: MaskFile,
  exempt: z.optional(z.array(ExemptionFile)),
});
export type MaskRuleFile = z.infer<typeof MaskRuleFile>;

const MasksFile = z.strictObject({
  level: z.optional(z.enum(maskLevels).check(about('The least level. At display only result columns are masked, by where they come from.'))),
  detect: z.optional(z.array(z.enum(detectorKinds)).check(about('Looks at results for values that no mask names, as a second line.'))),
  trust: z.optional(z.array(FunctionPattern).check(about("Functions of the database's own, schema.name, that compute from their arguments only."))),
  rules: z.array(MaskRuleFile).check(z.maxLength(5000), about('The first that names a column decides. Columns of a table with masks that none names are hidden.')),
});
export type MasksFile = z.infer<typeof MasksFile>;

const Seconds = Duration;
const Url = z.url({ protocol: /^https?$/, error: 'write a URL like https://token.actions.githubusercontent.com' });

const IssuerFile = z.strictObject({
  preset: z.optional(z.enum(presetNames).check(about('The platform: what its claims are, which of them never change, and which of its runs are not trusted.'))),
  url: z.optional(Url.check(about('Exactly the `iss` of its tokens. Presets of one public issuer know it.'))),
  audience: Text.check(about('The audience that tokens must be for, and no other. Platforms ask for it: gate does so by itself.')),
  algorithms: z.optional(z.array(z.enum(asymmetricAlgorithms)).check(z.minLength(1, 'name at least one algorithm'))),
  maxLifetime: z.optional(Seconds.check(about('From iat to exp, at most.'))),
  requiredClaims: z.optional(z.array(Text).check(about('Claims that each token must have, on top of those of the preset.'))),
  jwksUrl: z.optional(Url.check(about('Its keys, where it has no discovery document that the relay can reach.'))),
});

const ClaimValue = z.union([z.string(), z.number(), z.boolean()]);
const WorkloadFile = z.strictObject({
  issuer: Name.check(about('One of issuers:.')),
  claims: z.record(z.string(), z.union([ClaimValue, z.array(ClaimValue).check(z.minLength(1, 'write at least one value'))])).check(about('Claim to value, or to the values of which it must have one. Nested claims as outer/inner. A segment between slashes may be *.')),
  groups: Groups.check(z.minLength(1, 'name at least one group'), about('The groups that it has, as roles name them.')),
  owner: z.optional(Name.check(about('One of people:, who answers for it. When they leave, its grants stop.'))),
  session: z.optional(Seconds.check(about('Longest life of the login that one token gives.'))),
  human: z.optional(z.strictObject({ groups: z.optional(Groups.check(z.minLength(1, 'name at least one group'))) }).check(about('A verified person must stand behind each run, of one of these groups.'))),
  untrusted: z.optional(z.literal('allow').check(about('Also runs that outsiders can cause: pull requests, forks, unprotected refs.'))),
  reasonFrom: z.optional(z.string().check(z.minLength(1), z.maxLength(textPatternLengthMax), about('RE2 on the message of the commit: where no reason is given, its first group is the reason.'))),
  ticketFrom: z.optional(z.string().check(z.minLength(1), z.maxLength(textPatternLengthMax), about('RE2 on the message of the commit: where no ticket is given, its first group is the ticket.'))),
});

const OneOrMore = z.union([Text, z.number(), z.array(z.union([Text, z.number()])).check(z.minLength(1, 'write at least one'))]);
const PersonFile = z.strictObject({
  subject: Text.check(about('The sub of their login.')),
  accounts: z.optional(z.record(Name, OneOrMore).check(about('Issuer of issuers: to the ids that its tokens have for them, as GitHub\'s actor_id.'))),
  emails: z.optional(z.array(Text)),
  keys: z.optional(z.array(Text).check(about('SSH public keys that they sign commits with.'))),
});

const OffboardedFile = z.strictObject({
  person: z.optional(Name.check(about('One of people:.'))),
  subject: z.optional(Text.check(about('Or the sub of a login.'))),
  reason: Text.check(about('What is told to whoever is refused for it.')),
});

export const WorkloadsFile = {
  issuers: z.optional(z.record(Name, IssuerFile).check(about('Issuers whose tokens stand for machines: CI platforms, clouds, clusters.'))),
  workloads: z.optional(z.record(Name, WorkloadFile).check(about('Machines by the claims of their tokens. The first that a token meets counts.'))),
  people: z.optional(z.record(Name, PersonFile).check(about('People and their accounts elsewhere, so that runs lead back to them.'))),
  offboarded: z.optional(z.array(OffboardedFile).check(about('Who has left: their logins, and the workloads that they own or run, get nothing any more.'))),
};

export const PolicyFile = z.strictObject({
  ...WorkloadsFile,
  auditors: z.optional(Groups.check(about('Groups that may list and replay everybody\'s sessions; others see their own.'))),
  administrators: z.optional(Groups.check(about('Groups that may revoke grants and end sessions of others. They approve nothing by that.'))),
  approvers: z.optional(z.record(Name, ApproverSetFile).check(about('Sets of people who may vote on requests.'))),
  roles: z.optional(z.record(Name, RoleFile).check(about('Roles to begin from with `use:`.'))),
  tags: z.optional(z.record(Name, Columns).check(about('Sets of columns to mask by name.'))),
  targets: z.record(Name, z.strictObject({ masks: z.optional(MasksFile), roles: z.record(Name, RoleFile) })),
});
export type PolicyFile = z.infer<typeof PolicyFile>;
