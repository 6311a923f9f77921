/** Writes src/policy/builtins.ts, what every PostgreSQL has, from a server of the newest version: npx tsx scripts/builtins.ts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { startPostgres } from '../src/dev/postgres.ts';
import { functions, relations } from '../src/relay/catalog-queries.ts';

await using postgres = await startPostgres();
const client = new Client({ connectionString: postgres.url() });
await client.connect();
const query = async (sql: string) => (await client.query<(string | boolean)[]>({ text: sql, rowMode: 'array' })).rows;

const calls = (await query(functions)).filter(([schema]) => schema === 'pg_catalog');
const named = (pick: (isUnary: unknown, takesRow: unknown) => boolean) =>
  calls.flatMap(([, name, isUnary, takesRow]) => (pick(isUnary, takesRow) ? [String(name)] : [])).toSorted();
const inSchema = async (wanted: string) =>
  (await query(relations)).flatMap(([, schema, name, kind]) => (schema === wanted && (kind === 'r' || kind === 'v') ? [String(name)] : [])).toSorted();

function list(name: string, comment: string, words: readonly string[]): string {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length > 150) lines.push(`  ${word}`);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return `/** ${comment} */\nexport const ${name} = `.concat('`\n', lines.join('\n'), '\n`;\n');
}

const text = [
  `/** What every PostgreSQL has, for decisions without a server: names of version ${postgres.version}. Made by scripts/builtins.ts. */\n`,
  list('functions', 'Functions of pg_catalog that cannot be called with one argument.', named((isUnary, takesRow) => isUnary !== true && takesRow !== true)),
  list('unaryFunctions', 'Those that can.', named((isUnary, takesRow) => isUnary === true && takesRow !== true)),
  list('rowFunctions', 'Those that take a row of any table.', named((_, takesRow) => takesRow === true)),
  list('setFunctions', 'Those of all these that return a set.', calls.flatMap(([, name, , , , returnsSet]) => (returnsSet === true ? [String(name)] : [])).toSorted()),
  list('catalogRelations', 'Tables and views of pg_catalog.', await inSchema('pg_catalog')),
  list('informationRelations', 'Views of information_schema.', await inSchema('information_schema')),
].join('\n');
writeFileSync(join(import.meta.dirname, '../src/policy/builtins.ts'), text);
await client.end();
