/** How long commands of gate take from start to end, against a Node that does nothing. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Case } from './cell.ts';
import { accountName, program } from './gate.ts';
import { run } from './processes.ts';
import type { Stage } from './stage.ts';
import type { Way } from './way.ts';

/** The process starts of one round, so that the median of the rounds rests on more than a few. */
const startsPerRound = 5;

export async function startTimes({ cleanup, relay, directory, options }: Stage): Promise<readonly Case[]> {
  const [node, script] = program;
  const empty = join(directory, 'empty.cjs');
  writeFileSync(empty, '');
  const env = await relay.environmentOf(accountName(0));
  const commands: readonly (readonly [name: string, title: string, words: readonly string[]])[] = [
    ['start-version', '`gate --version`', [script, '--version']],
    ['start-help', '`gate --help`', [script, '--help']],
    ['start-exec', '`gate exec` of `select 1`, with grant, session, login and end', [script, 'exec', 'bench', '--sql', 'select 1', '--reason', 'benchmark']],
  ];
  const way = (name: string): Way => ({ name, host: '', port: 0, user: '', password: '', database: '', pids: {} });
  return commands.map(([name, title, words]): Case => ({
    name,
    title,
    figures: [{ key: 'milliseconds', unit: 'ms', better: 'lower' }],
    ways: [way('empty Node'), way('gate')],
    rounds: options.rounds,
    measure: async (one) => {
      const command = one.name === 'gate' ? [node, ...words] : [node, empty];
      const times: number[] = [];
      for (let index = 0; index < startsPerRound; index++) {
        const start = performance.now();
        const { code, err } = await run(command, { cleanup, env });
        times.push(performance.now() - start);
        if (code !== 0) throw new Error(`${command.slice(1).join(' ')} ended with ${code}: ${err.trim()}`);
      }
      // Whatever disturbs a start makes it longer.
      return { milliseconds: Math.min(...times) };
    },
  }));
}
