/** One request as text for an approver: who, what exactly, and in what state of things. */
import type { HeldStatementInfo, RequestInfo } from '../../../api/request-api.ts';
import { showHidden } from '../../../audit/visible-text.ts';
import { showParameter } from '../../../audit/words.ts';
import { nameOf } from '../../../principal/behind.ts';
import { formatChain } from '../../chain.ts';
import { formatRelative, oneLine } from '../../output.ts';
import { describeState, describeWish } from './list.ts';

export function formatRequest(request: RequestInfo, now: Date): string {
  const { requester, approval, votes, statement, allowed } = request;
  const moment = (time: string) => `${time} (${formatRelative(time, now)})`;
  const isOpen = request.state === 'pending' || request.state === 'approved';
  const rows: [string, string][] = [
    ['request', request.id],
    ['state', describeState(request)],
    ...(request.endReason === undefined ? [] : ([['because', request.endReason]] as [string, string][])),
    ['asks for', statement === undefined ? describeWish(request) : 'this statement to run'],
    ['user', requester.kind === 'human' ? requester.name : `${requester.name} (${requester.kind})`],
    ['subject', requester.subject],
    ['groups', requester.groups.join(', ') || '-'],
    ['target', request.target],
    ['role', request.isReadOnly ? `${request.role}, for reads only` : request.role],
    ['reason', request.reason ?? '-'],
    ...(request.ticket === undefined ? [] : ([['ticket', request.ticket]] as [string, string][])),
    ['rule', request.rule],
    ['approvers', `${approval.count} of ${approval.by.join(' or ')}`],
    ...votes.map((vote): [string, string] => [vote.decision === 'approve' ? 'approved' : 'denied', describeVote(vote, now)]),
    ['made', moment(request.createdAt)],
    [isOpen ? 'ends' : 'ended by', moment(request.expiresAt)],
    ...(request.grant === undefined ? [] : ([['grant', request.grant]] as [string, string][])),
    ...(allowed === undefined ? [] : ([['good for', describeAllowed(allowed, now)]] as [string, string][])),
  ];
  const head = rows.map(([label, value]) => `${label.padEnd(12)} ${oneLine(value)}\n`).join('');
  return [`${head}${formatBehind(requester)}`, ...(statement === undefined ? [] : [formatStatement(statement)])].join('\n');
}

/** Whom a machine acts for: an approver has to know what of it is proven. */
function formatBehind({ chain = [] }: RequestInfo['requester']): string {
  return chain.length === 0 ? '' : `\nWho is behind it:\n${formatChain(chain).map((line) => `    ${line}\n`).join('')}`;
}

function describeVote({ by, at, reason }: RequestInfo['votes'][number], now: Date): string {
  return `by ${nameOf(by)} ${formatRelative(at, now)}${reason === undefined ? '' : `: ${reason}`}`;
}

function describeAllowed({ usesLeft, until, anyParameters }: NonNullable<RequestInfo['allowed']>, now: Date): string {
  const how = anyParameters ? 'with any parameters' : 'with exactly these parameters';
  return `${usesLeft} more ${usesLeft === 1 ? 'run' : 'runs'} ${how}, until ${until} (${formatRelative(until, now)})`;
}

const transactions = { I: 'none is open', T: 'inside an open transaction', E: 'inside a failed transaction' } as const;

/** Indented, so that no line of the text can be taken for one of gate's own. */
function formatStatement(statement: HeldStatementInfo): string {
  const { sql, parameters, facts, transaction, locks = [], rowEstimate, session, connection, isWaiting } = statement;
  const block = (text: string) => text.split('\n').map((line) => `    ${line}\n`).join('');
  const lines = [
    ['transaction', transactions[transaction]],
    ...(locks.length === 0 ? [] : [['locks held', locks.join(', ')]]),
    ['row estimate', rowEstimate === undefined ? 'not known' : `${rowEstimate} by the planner`],
    ['session', `${session}, connection ${connection}${isWaiting ? '; a client waits for it' : ''}`],
    ...(statement.isClosed === true ? [] : [['fingerprint', statement.fingerprint]]),
  ] as const;
  return [
    statement.isClosed === true ? 'SQL, without what is for its approvers and auditors (literals, comments, parameters):\n' : 'SQL, exactly as it will run:\n',
    block(showHidden(sql)),
    ...(parameters.length === 0 ? [] : ['Parameters:\n', block(parameters.map((value, index) => `$${index + 1} = ${showParameter(value)}`).join('\n'))]),
    'What it does:\n',
    block(facts.flatMap(describeFacts).join('\n')),
    ...lines.map(([label = '', value = '']) => `${label.padEnd(12)} ${oneLine(value)}\n`),
  ].join('');
}

function describeFacts(facts: HeldStatementInfo['facts'][number]): string[] {
  const { command, commands, kinds, reads, writes, functions, rowsMax, locking, transaction, settings, changesRole, runsCode } = facts;
  const nested = commands.filter((one) => one !== command);
  const changes = kinds.some((kind) => kind !== 'read');
  const items: (readonly [string, string | undefined])[] = [
    ['with', nested.join(', ') || undefined],
    ['reads', reads.join(', ') || undefined],
    ['writes', writes.join(', ') || undefined],
    ['rows', rowsMax === undefined ? (changes && writes.length > 0 ? 'no bound is proven' : undefined) : `at most ${rowsMax} changed`],
    ['calls', functions.join(', ') || undefined],
    ['sets', settings.join(', ') || undefined],
    ['transaction', transaction],
    ['locks rows or tables', locking ? 'yes' : undefined],
    ['changes a role', changesRole ? 'yes' : undefined],
    ['runs code that its text does not show', runsCode ? 'yes' : undefined],
  ];
  const said = items.flatMap(([label, value]) => (value === undefined ? [] : [`  ${label}: ${oneLine(value)}`]));
  return [`${oneLine(command)} (${kinds.join(', ') || 'no kind'})`, ...said];
}
