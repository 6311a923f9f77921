/** gate sessions show: all that the relay knows about one session, without its statements. */
import { Command } from 'commander';
import type { SessionDetails } from '../../../api/api.ts';
import { count, showBytes } from '../../../audit/words.ts';
import { linksOf, nameOf } from '../../../principal/behind.ts';
import { formatChain } from '../../chain.ts';
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
  await context.io.write(formatSession(session, new Date()));
}

/** First each field, then the questions that somebody asks who was not there. */
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
  ] as const;
  return `${rows.map(formatRow).join('')}\n${formatAnswers(session)}`;
}

function formatRow([label, value]: readonly [label: string, value: string]): string {
  return `${label.padEnd(12)} ${oneLine(value)}\n`;
}

/** Who, why, allowed by whom, what came back, and which of these is proven. */
function formatAnswers(session: SessionDetails): string {
  const { principal, reason, ticket, statements, refused, rows, bytesOut } = session;
  const said = [reason ?? 'no reason given', ...(ticket === undefined ? [] : [`ticket ${ticket}`])].join('; ');
  const back = rows === undefined ? 'nothing is on record' : `${count(rows, 'row')}, ${showBytes(bytesOut ?? 0)}`;
  const behind = formatChain(linksOf(principal)).map((line) => `             ${line}\n`);
  const answers = [
    ['why', said],
    ['allowed by', describeApproval(session)],
    ['came back', `${back}, by ${count(statements, 'statement')}, ${refused} of them refused`],
    ['proof', describeProof(principal)],
  ] as const;
  return [formatRow(['who', nameOf(principal)]), ...behind, ...answers.map(formatRow)].join('');
}

function describeApproval({ role, target, approval }: SessionDetails): string {
  if (approval === undefined) return `the policy alone: the role ${role} on ${target} asks nobody`;
  const { request, kind, state, by } = approval;
  const yes = by.length === 0 ? 'nobody until now' : by.map(({ name, at }) => `${name} at ${at}`).join(', ');
  return kind === 'grant' ? `${yes} (request ${request})` : `the policy alone, to be looked at afterwards: ${state}, by ${yes} (request ${request})`;
}

function describeProof({ chain = [] }: SessionDetails['principal']): string {
  const claimed = chain.some(({ strength }) => strength === 'claimed') ? '; what is claimed is proven by nothing' : '';
  return `a signed token, a signature or the policy for what is verified${claimed}. That the record is whole: gate audit verify`;
}
