/** Stands in for `gate relay` where only its life is of interest: reads its port, says ready, ends with its stdin. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parse } from 'yaml';
import * as z from 'zod';

const [command = '', , file = ''] = process.argv.slice(2);
if (command === 'broken') {
  process.stderr.write('{"msg":"the configuration is wrong"}\n');
  process.exit(2);
}
if (command === 'misconfigured') {
  const error = { code: 'config-invalid', message: 'policy.yaml:5:9: allow: missing', hint: 'Write a list.' };
  process.stderr.write(`{"level":30,"msg":"starts"}\n${JSON.stringify({ error })}\n`);
  process.exit(2);
}
const { listen } = z.object({ listen: z.string() }).parse(parse(readFileSync(file, 'utf8')));
const port = Number(listen.split(':')[1]);
const server = createServer((_request, response) => response.end(String(process.pid)));
server.listen(port, '127.0.0.1', () => {
  process.stdout.write('not JSON\n{"event":"other"}\n');
  process.stdout.write(
    `${JSON.stringify({ event: 'ready', url: `http://127.0.0.1:${port}`, port, pid: process.pid })}\n`,
  );
  if (command === 'short-lived') process.exit(3);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
