/** The act of the demo about what all of it costs: the same statement beside the server itself, in turns, and all of it on record. */
import { loadPeer } from './peers.ts';
import type { Play } from './play.ts';
import { shopDatabase } from './shop.ts';
import type { Finished } from './stage.ts';

const times = 400;
const sql = 'select status, customer_id from orders where id = $1';

export async function actSpeed({ stage, stack, gate }: Play): Promise<void> {
  await stage.act(
    'What it costs',
    `The same statement ${times} times, in turns: once straight to the server, as only this demo can, and once through Erin's port, ` +
      'where each is parsed, decided on and on disk before it is forwarded. Figures are of this machine at this moment; ' +
      'docs/benchmarks.md has better ones.',
  );
  const connect = await stage.start(gate('engineer', 'connect', 'prod-db', '--reason', 'OPS-4711: what does it cost?'));
  const [, session = ''] = await connect.waitFor(/session (s_\w+)[\s\S]*Ctrl-C closes/);
  const [url] = await connect.waitFor(/postgresql:\/\/\S+/);
  const pg = await loadPeer('pg', () => import('pg'));
  const client = new pg.Client({ connectionString: url });
  const direct = new pg.Client({ connectionString: stack.postgres.url(shopDatabase) });
  client.on('error', () => undefined);
  await Promise.all([client.connect(), direct.connect()]);
  const microseconds: { direct: number[]; gate: number[] } = { direct: [], gate: [] };
  try {
    for (let time = 0; time < times; time++) {
      for (const [way, one] of [['direct', direct], ['gate', client]] as const) {
        const start = performance.now();
        await one.query({ name: 'one-order', text: sql, values: [1 + (time % 50)] });
        microseconds[way].push((performance.now() - start) * 1000);
      }
    }
  } finally {
    await Promise.all([client.end(), direct.end()]);
  }
  const [straight, through] = [medianOf(microseconds.direct), medianOf(microseconds.gate)];
  await stage.show(`straight to the server  ${straight.toFixed(0)} µs\nthrough gate            ${through.toFixed(0)} µs, ${(through - straight).toFixed(0)} µs more\n(medians of ${times})`);
  const countIn = ({ stdout }: Finished) => (JSON.parse(stdout) as { readonly statements: number }).statements;
  const shown = await stage.run(gate('operator', 'sessions', 'show', session, '--json'), 0, (finished) => `{ … "statements": ${countIn(finished)} … }`);
  await stage.check(`each of the ${times} is on record`, countIn(shown) === times);
  await connect.interrupt();
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1] ?? 0;
}
