/** The roles that come with gate, as the YAML that `gate policy presets` shows: ordinary definitions to begin from. */
import { parseYaml } from '../yaml/yaml-file.ts';
import { RoleFile } from './policy-file.ts';

const readOnly = `# Looks at everything and changes nothing: the database session itself is read-only.
require: [reason]
maxDuration: 8h
readOnly: true
statementTimeout: 5m
allow: [read]
`;

const engineer = `# Reads and writes of single rows run at once. What could hurt waits for two people out of the role's approvers.
require: [reason]
maxDuration: 8h
rules:
  - name: privileges
    effect: deny
    kinds: [admin]
    reason: roles, privileges, files and the server itself are not for this role
  - name: own-code
    effect: hold
    kinds: [read, write, schema]
    when: statement.runsCode
    reason: what a function of the database's own does cannot be told from the statement
    approval: { count: 2 }
  - name: table-locks
    effect: hold
    commands: [LOCK TABLE]
    kinds: [write]
    reason: a table lock stops everybody else
    approval: { count: 2 }
  - name: reads
    effect: allow
    kinds: [read]
  - name: single-row-writes
    effect: allow
    kinds: [read, write]
    maxRows: 1
  - name: wide-writes
    effect: hold
    kinds: [write]
    reason: no unique key bounds the rows that it changes or locks to one
    approval: { count: 2 }
  - name: definitions
    effect: hold
    kinds: [schema]
    reason: changes of definitions take two approvals
    approval: { count: 2 }
`;

const breakGlass = `# For the night on which nobody can be asked: opens at once, pages the approvers, and must be reviewed afterwards.
require: [reason]
maxDuration: 1h
review: { count: 1, within: 72h }
allow: [read, write, schema, admin, unknown]
`;

const ciMigration = `# A migration by a pipeline: definitions and rows, but no privileges. What destroys data waits for one person.
require: [reason]
maxDuration: 1h
statementTimeout: 15m
rules:
  - name: destroys-data
    effect: hold
    commands: [DROP TABLE, DROP COLUMN, DROP TYPE, DROP DOMAIN, DROP SCHEMA, DROP MATERIALIZED VIEW, TRUNCATE]
    reason: it destroys data
    approval: { count: 1, within: 2h }
  - name: wide-deletes
    effect: hold
    commands: [DELETE, MERGE]
    bounded: false
    reason: nothing bounds the rows that it deletes
    approval: { count: 1, within: 2h }
  - name: migration
    effect: allow
    kinds: [read, write, schema]
`;

/** Name → YAML text. */
export const presetTexts: ReadonlyMap<string, string> = new Map([
  ['read-only', readOnly],
  ['engineer', engineer],
  ['break-glass', breakGlass],
  ['ci-migration', ciMigration],
]);

const parsed = new Map<string, RoleFile>();

export function findPreset(name: string): RoleFile | undefined {
  const text = presetTexts.get(name);
  if (text === undefined) return undefined;
  let role = parsed.get(name);
  if (role === undefined) {
    role = parseYaml(text, `preset ${name}`, RoleFile);
    parsed.set(name, role);
  }
  return role;
}
