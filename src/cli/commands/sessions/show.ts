/** gate sessions show: all that the relay knows about one session, without its statements. */
import { Command } from 'commander';
import type { SessionDetails } from '../../../api/api.ts';
import type { Context } from '../../context.ts';
import { formatRelative, oneLine } from '../../output.ts';

export function showCommand(context: Context): Command {
  return new Command('show')
    .summary('show one session')
    .argument('<session>', 'its id, or as much of the beginning as no other session shares')
    .action((id: string) => runSessionsShow(context, id));
}

/** Under `--json` one line, the object of GET /v1/sessions/:id. */
export async function runSessionsShow(context: Context, id: string): Promise<void> {
  const session = await (await context.relay()).session(id);
  if (context.io.json) return context.io.writeJson(session);
  const { formatAnswers } = await import('./answers.ts');
  await context.io.write(`${formatSession(session, new Date())}\n${formatAnswers(session)}`);
}

export function formatSession(session: SessionDetails, now: Date): string {
  const { principal } = session;
  const moment = (time: string) => `${time} (${formatRelative(time, now)})`;
  const rows = [
    ['session', session.id],
    ['state', session.state],
    ['user', principal.kind === 'human' ? principal.name : `${principal.name} (${principal.kind})`],
    ['subject', principal.subject],
    ['issuer', principal.issuer],
    ['groups', principal.groups.join(', ') || '-'],
    ['reason', session.reason ?? '-'],
    ['target', session.target],
    ['role', session.role],
    ['command', `gate ${session.command}`],
    ['grant', session.grant],
    ['started', moment(session.startedAt)],
    ['expires', moment(session.expiresAt)],
    ['ended', session.endedAt === undefined ? '-' : moment(session.endedAt)],
    ['end reason', session.endReason ?? '-'],
    ['connections', String(session.connections)],
    ['statements', `${session.statements}, ${session.refused} of them refused`],
    ...(session.ticket === undefined ? [] : [['ticket', session.ticket] as const]),
  ] as const;
  return rows.map(([label, value]) => `${label.padEnd(12)} ${oneLine(value)}\n`).join('');
}
