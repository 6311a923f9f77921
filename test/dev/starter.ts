/** A process that starts PostgreSQL, says where, and waits to be killed. */
import { startPostgres } from '../../src/dev/postgres.ts';

const [directory] = process.argv.slice(2);
const { pid, dataDirectory } = await startPostgres(directory === undefined ? {} : { directory });
process.stdout.write(`${JSON.stringify({ pid, dataDirectory })}\n`);
setInterval(() => undefined, 60_000);
