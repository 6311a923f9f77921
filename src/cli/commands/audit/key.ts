/** gate audit key: the keys that the record is verified with. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';
import { oneLine } from '../../output.ts';

export function keyCommand(context: Context): Command {
  return new Command('key')
    .summary('print the keys that the record is verified with')
    .description('Verifier keys of signed notes (C2SP), one per line: that of now first, then those before it. Keep a copy away from the relay.')
    .action(() => runAuditKey(context));
}

/** Under `--json` one object: `{"keys":["…"]}`. */
export async function runAuditKey(context: Context): Promise<void> {
  const { io } = context;
  const keys = await (await context.relay()).logKeys();
  if (io.json) await io.writeJson({ keys });
  else await io.write(keys.map((key) => `${oneLine(key)}\n`).join(''));
}
