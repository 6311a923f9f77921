/** The commands that rules can name, so that a misspelled one is told instead of never meeting anything. */
import { nearest } from '../yaml/nearest.ts';

const whole = `SELECT|SELECT INTO|INSERT|UPDATE|DELETE|MERGE|TRUNCATE|TRUNCATE TABLE|LOCK TABLE|COPY|DO|CALL|EXPLAIN|PREPARE|EXECUTE|
DECLARE CURSOR|FETCH|MOVE|CLOSE CURSOR|CLOSE CURSOR ALL|NOTIFY|LISTEN|UNLISTEN|LOAD|SET|RESET|SHOW|SET CONSTRAINTS|CHECKPOINT|CLUSTER|
REINDEX|VACUUM|ANALYZE|BEGIN|START TRANSACTION|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|PREPARE TRANSACTION|COMMIT PREPARED|ROLLBACK PREPARED|
DEALLOCATE|DEALLOCATE ALL|DISCARD ALL|DISCARD PLANS|DISCARD SEQUENCES|DISCARD TEMP|GRANT|REVOKE|GRANT ROLE|REVOKE ROLE|COMMENT|
SECURITY LABEL|REASSIGN OWNED|DROP OWNED|REFRESH MATERIALIZED VIEW|IMPORT FOREIGN SCHEMA|CREATE TABLE AS|ALTER SYSTEM|DROP COLUMN|
ALTER DEFAULT PRIVILEGES`;

const objects = `ACCESS METHOD|AGGREGATE|CAST|COLLATION|CONVERSION|DATABASE|DOMAIN|EVENT TRIGGER|EXTENSION|FOREIGN DATA WRAPPER|
FOREIGN TABLE|FUNCTION|INDEX|LANGUAGE|LARGE OBJECT|MATERIALIZED VIEW|OPERATOR|OPERATOR CLASS|OPERATOR FAMILY|POLICY|PROCEDURE|
PUBLICATION|ROLE|ROUTINE|RULE|SCHEMA|SEQUENCE|SERVER|STATISTICS|SUBSCRIPTION|TABLE|TABLESPACE|TEXT SEARCH CONFIGURATION|
TEXT SEARCH DICTIONARY|TEXT SEARCH PARSER|TEXT SEARCH TEMPLATE|TRANSFORM|TRIGGER|TYPE|USER MAPPING|VIEW`;

const words = (text: string) => text.split('|').map((word) => word.trim());

export const commandNames: ReadonlySet<string> = new Set([
  ...words(whole),
  ...['CREATE', 'ALTER', 'DROP'].flatMap((verb) => words(objects).map((object) => `${verb} ${object}`)),
]);

/** What is wrong with a command of a rule; undefined for one that statements can have. */
export function commandProblem(command: string): string | undefined {
  const start = command.endsWith(' *') ? command.slice(0, -1) : undefined;
  if (start === undefined ? commandNames.has(command) : [...commandNames].some((name) => `${name} `.startsWith(start))) return undefined;
  const near = nearest(start === undefined ? command : start.trim(), start === undefined ? commandNames : ['CREATE', 'ALTER', 'DROP']);
  const advice = near === undefined ? 'see docs/policy.md for what commands are' : `did you mean "${near}${start === undefined ? '' : ' *'}"?`;
  return `there is no command "${command}": ${advice}`;
}
