/** The kinds of statement that policy speaks of. */

/**
 * What a statement does, as log_statement sorts it (GetCommandLogLevel): `read` changes nothing, `write` changes rows
 * or takes row locks, `schema` changes definitions, `admin` changes roles, privileges, files or the server itself,
 * `unknown` is anything whose effect the text does not tell (DO, CALL) or that a newer grammar brought.
 */
export const statementKinds = ['read', 'write', 'schema', 'admin', 'unknown'] as const;
export type StatementKind = (typeof statementKinds)[number];
