/** gate audit shred, hold and release: the end of what a session has sealed, and what keeps it. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';
import { ExitCode } from '../../exit-code.ts';
import { oneLine } from '../../output.ts';

type Flags = { readonly reason: string };

/** A second person has still to ask for the same. */
const exitPending = 8;

export function shredCommand(context: Context): Command {
  return command('shred', 'delete the keys of a session, which takes two administrators')
    .description(
      'Deletes the data keys of a session, so that texts, parameters and rows in its record can never be read again; the entries stay, and stay verifiable. It takes two administrators, each with this command, within a day. Exit code 8: a second one is still needed.',
    )
    .action((id: string, flags: Flags) => runAuditShred(context, id, flags));
}

export function holdCommand(context: Context): Command {
  return command('hold', 'set a legal hold, so that the keys of a session stay')
    .action((id: string, flags: Flags) => runAuditHold(context, id, flags, true));
}

export function releaseCommand(context: Context): Command {
  return command('release', 'lift the legal hold on a session')
    .action((id: string, flags: Flags) => runAuditHold(context, id, flags, false));
}

function command(name: string, summary: string): Command {
  return new Command(name)
    .summary(summary)
    .argument('<session>', 'its whole id')
    .requiredOption('--reason <text>', 'why; it goes on record');
}

/** Under `--json` the answer of the relay. */
export async function runAuditShred(context: Context, id: string, { reason }: Flags): Promise<void> {
  const { io } = context;
  const answer = await (await context.relay()).shred(id, reason);
  if (io.json) await io.writeJson(answer);
  if (answer.state === 'shredded') return io.say(`The keys of session ${id} are gone.`);
  io.say(`Asked for. Another administrator has to run within a day: gate audit shred ${oneLine(id)} --reason "…"`);
  throw new ExitCode(exitPending);
}

export async function runAuditHold(context: Context, id: string, { reason }: Flags, isSet: boolean): Promise<void> {
  const { io } = context;
  const answer = await (await context.relay()).hold(id, isSet, reason);
  if (io.json) await io.writeJson(answer);
  io.say(isSet ? `A legal hold keeps session ${id}.` : `No legal hold keeps session ${id} any more.`);
}
