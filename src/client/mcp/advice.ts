/** A failure as a model can use it: what happened, by which rule, and what to do next. */
import { GateError, messageOf, type ErrorCode } from '../../errors/errors.ts';
import type { ToolResult } from './mcp-server.ts';

export type Advice = { readonly code: string; readonly message: string; readonly rule?: string; readonly requestId?: string; readonly next: string };

export type Situation = { readonly target?: string; readonly isReadOnly: boolean };

const stop = 'Do not try to work around it.';

const nextByCode: Partial<Record<ErrorCode, string>> = {
  'reason-required': 'Ask the person why this access is needed, and call again with reason.',
  'ticket-required': 'This role asks for a ticket. Have the person start gate mcp with --ticket.',
  'target-unknown': 'Call list_targets and use one of the names there.',
  'not-found': 'Check the name or id; nothing like it is visible to you.',
  'login-required': 'Ask the person to run gate login in a terminal, then call again.',
  'login-failed': 'Ask the person to run gate login in a terminal, then call again.',
  'grant-expired': 'The access has ended. Call again: new access is asked for by itself. Where it was a write, look first whether it took effect.',
  'session-ended': 'The session was ended. Call again only if the person agrees: somebody may have ended it on purpose.',
  'grant-revoked': 'Somebody has taken the access back. Tell the person, and do not ask again by yourself.',
  'masks-changed': 'Call again: the masks of this target have just changed.',
  'approval-rejected': `The people who decide have said no. Tell the person. ${stop}`,
  'approval-expired': 'Nobody approved it in time. Ask the person whether to ask again; if so, call again.',
  'approval-impossible': 'Nobody could approve this. Tell the person; whoever keeps the policy can change it.',
  'row-limit': 'The rule limits how many rows a statement may touch. Narrow the WHERE clause, or add a LIMIT within that bound.',
  'statement-timeout': 'The statement took too long. Narrow it: fewer rows, an indexed column in WHERE, no unneeded join.',
  'relay-unreachable': 'The relay cannot be reached. Tell the person; a write may or may not have taken effect, so look before you repeat it.',
  'relay-stopping': 'The relay is restarting. Wait some seconds and call again.',
  'upstream-unreachable': 'The database cannot be reached. Tell the person, and do not repeat it in a loop.',
  'record-unavailable': 'Nothing runs that cannot be recorded. Tell the person; the operator of the relay must look at it.',
  'too-large': 'Ask for less at a time.',
  'too-many': 'Wait for what runs to end, then call again.',
  cancelled: 'It was cancelled. Call again only if it is still wanted.',
};

const nextByState: Readonly<Record<string, string>> = {
  '42P01': 'There is no such table, or not under this name. Call describe_schema and write schema.table.',
  '42703': 'There is no such column. Call describe_schema for this table.',
  '42883': 'There is no such function or operator for these types. Add casts, or use another.',
  '42601': 'The SQL has a syntax error where LINE and ^ point to. Correct it; send one statement at a time.',
  '42501': 'The database itself does not allow this. Tell the person.',
  '25006': 'This connection only reads. Ask the person to restart gate mcp with --allow-writes if the change is wanted.',
};

export function adviceOn(error: unknown, situation: Situation): Advice {
  if (!(error instanceof GateError)) return { code: 'internal', message: messageOf(error), next: 'This is a defect of gate. Tell the person.' };
  const { code, message, rule, requestId, hint } = error;
  return { code, message, ...(rule !== undefined && { rule }), ...(requestId !== undefined && { requestId }), next: nextOf(error, situation) ?? hint ?? 'Tell the person.' };
}

function nextOf({ code, rule, requestId, hint, sqlstate }: GateError, { isReadOnly }: Situation): string | undefined {
  if (code === 'approval-pending') {
    return `Nothing has run. Ask the person to have somebody else run: gate approve ${requestId ?? '<id>'}. Then call check_request with this id, and once it is approved make exactly the same call again.`;
  }
  if (code === 'sql-error') return nextByState[sqlstate] ?? `Read the message, correct the statement, and call again.${hint === undefined ? '' : ` ${hint}`}`;
  if (rule === 'masks/value') return `That is a mask, not the value, which you cannot see. Leave this column out of the write. ${stop}`;
  if (rule?.startsWith('masks/') === true) return `${hint ?? ''} Select only clear columns, and use masked ones only as they are shown. ${stop}`.trimStart();
  if (code === 'denied' && isReadOnly && rule?.endsWith('/read-only') === true) return nextByState['25006'];
  if (code === 'denied') return `Policy refuses this${hint === undefined ? '.' : `: ${hint}`} Call list_targets for what each role allows. ${stop}`;
  return nextByCode[code];
}

export function failure(advice: Advice): ToolResult {
  const { code, message, rule, requestId, next } = advice;
  const lines = [`${code}: ${message}`, rule && `rule: ${rule}`, requestId && `request: ${requestId}`, `next: ${next}`];
  return { content: [{ type: 'text', text: lines.filter(Boolean).join('\n') }], structuredContent: { ...advice }, isError: true };
}
