/** The answers to whoever was not there: who did it, why, allowed by whom, what came back, and which of these is proven. */
import type { SessionDetails } from '../../../api/api.ts';
import { count, showBytes } from '../../../audit/words.ts';
import { linksOf, nameOf } from '../../../principal/behind.ts';
import { formatChain } from '../../chain.ts';
import { oneLine } from '../../output.ts';

export function formatAnswers(session: SessionDetails): string {
  const { principal, reason, ticket, statements, refused, rows, bytesOut } = session;
  const said = [reason ?? 'no reason given', ...(ticket === undefined ? [] : [`ticket ${ticket}`])].join('; ');
  const back = rows === undefined ? 'nothing is on record' : `${count(rows, 'row')}, ${showBytes(bytesOut ?? 0)}`;
  const behind = formatChain(linksOf(principal)).map((line) => `             ${line}\n`);
  const answers = [
    ['why', said],
    ['allowed by', describeApproval(session)],
    ...(session.statementApprovals ?? []).map(({ request, by }) => ['', `and one statement by ${by.map(({ name, at }) => `${name} at ${at}`).join(', ')} (request ${request})`] as const),
    ['came back', `${back}, by ${count(statements, 'statement')}, ${refused} of them refused`],
    ['proof', describeProof(principal)],
  ] as const;
  return [formatRow(['who', nameOf(principal)]), ...behind, ...answers.map(formatRow)].join('');
}

function describeApproval({ role, target, approval, rows }: SessionDetails): string {
  // An older relay tells neither.
  if (approval === undefined && rows === undefined) return 'this relay does not say';
  if (approval === undefined) return `the policy alone: the role ${role} on ${target} asks nobody`;
  const { request, kind, state, by } = approval;
  const yes = by.length === 0 ? 'nobody until now' : by.map(({ name, at }) => `${name} at ${at}`).join(', ');
  return kind === 'grant' ? `${yes} (request ${request})` : `the policy alone, to be looked at afterwards: ${state}, by ${yes} (request ${request})`;
}

function describeProof({ chain = [] }: SessionDetails['principal']): string {
  const claimed = chain.some(({ strength }) => strength === 'claimed') ? '; what is claimed is proven by nothing' : '';
  return `a signed token, a signature or the policy for what is verified${claimed}. That the record is whole: gate audit receipt, gate audit verify`;
}

function formatRow([label, value]: readonly [label: string, value: string]): string {
  return `${label.padEnd(12)} ${oneLine(value)}\n`;
}
