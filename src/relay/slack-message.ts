/** What a Slack incoming webhook is sent about a notice: text that people read, in which nothing from outside is markup. */
import { showHidden, showOnOneLine } from '../audit/visible-text.ts';
import type { AccessRequest, Notice } from '../grant/request.ts';
import { describeLink, strengthOf } from '../principal/behind.ts';
import { humanBehind, type Link, type Principal } from '../principal/principal.ts';
import type { Sink } from './sinks.ts';
import { notifiedLinks, notifiedParameters } from './webhook-message.ts';

/** Of Slack: characters in the text of one section block. */
export const slackSectionLengthMax = 3000;
/** Characters of one value, of a reason, and of a vote with its reason: all lines together fit into one section. */
export const slackValueLengthMax = 150;
const reasonLengthMax = 800;
const voteLengthMax = 400;
/** Characters of the statement, and of all parameters together, with room for what stands around them. */
const longLengthMax = slackSectionLengthMax - 100;

const headlines: Readonly<Record<Notice['kind'], string>> = {
  created: 'Approval asked for',
  approved: 'Approved',
  denied: 'Denied',
  withdrawn: 'Withdrawn',
  expired: 'Expired without a decision',
  'opened-for-review': 'Opened without approval, to be reviewed',
};

const subjects: Readonly<Record<AccessRequest['kind'], string>> = {
  grant: 'a grant',
  statement: 'a held statement',
  review: 'a break-glass grant',
};

export function slackMessage(notice: Notice, included: Pick<Sink, 'includeSql' | 'includeParameters'>): string {
  const { kind, request } = notice;
  const { id, statement } = request;
  const headline = `*${headlines[kind]}*: ${subjects[request.kind]} on ${code(request.target)} for ${describeRequester(request.requester)}`;
  const behind = notifiedLinks(request.requester).map(describeStep).join('\n');
  const sections = [headline, describe(request), ...(behind === '' ? [] : [`*Who is behind it*\n${behind}`])];
  if (statement !== undefined && included.includeSql) {
    const { text, isCut } = escapeSome(showHidden(statement.sql), longLengthMax);
    sections.push(`\`\`\`\n${text}\n\`\`\`${isCut ? '\n_cut here: the whole text is with the request_' : ''}`);
    if (included.includeParameters && statement.parameters.length > 0) {
      sections.push(`parameters ${code(JSON.stringify(notifiedParameters(statement.parameters)), longLengthMax)}`);
    }
  }
  if (request.state === 'pending') sections.push(commands(id));
  return JSON.stringify({
    // What a notification on the phone shows, and what receivers without blocks show.
    text: request.state === 'pending' ? `${headline}\n${commands(id)}` : `${headline}, ${code(id)}`,
    blocks: sections.map((text) => ({ type: 'section', text: { type: 'mrkdwn', text, verbatim: true } })),
    unfurl_links: false,
    unfurl_media: false,
  });
}

/** How sure it is stands outside of what the cut of a long name could take away. */
function describeRequester(requester: Principal): string {
  const human = requester.kind === 'human' ? undefined : humanBehind(requester);
  if (human === undefined) return code(requester.name);
  return `${code(requester.name)} on behalf of ${code(human.value)}${human.strength === 'verified' ? '' : ' (only claimed)'}`;
}

function describeStep(link: Link): string {
  return `${link.kind}, ${strengthOf(link)}: ${code(describeLink(link))}`;
}

function describe(request: AccessRequest): string {
  const { id, role, reason, ticket, rule, approval, durationSeconds, endReason, requester, state } = request;
  const vote = request.votes.at(-1);
  const lines: (readonly [label: string, value: string | undefined, lengthMax?: number])[] = [
    ['request', id],
    ['who', `${requester.name} (${requester.kind} ${requester.subject})`],
    ['role', role],
    ['reason', reason, reasonLengthMax],
    ['ticket', ticket],
    ['rule', rule],
    ['approvers', `${approval.count} of ${approval.by.join(', ')}`],
    ['for', durationSeconds === undefined ? undefined : `${durationSeconds} s`],
    ['last vote', vote && `${vote.decision} by ${vote.by.name}${vote.reason === undefined ? '' : `: ${vote.reason}`}`, voteLengthMax],
    ['ended', endReason],
    ['waits until', state === 'pending' ? request.expiresAt.toISOString() : undefined],
  ];
  return lines.flatMap(([label, value, lengthMax]) => (value ? [`${label}: ${code(value, lengthMax)}`] : [])).join('\n');
}

function commands(id: string): string {
  const { text } = escapeSome(showOnOneLine(id), slackValueLengthMax);
  return `\`\`\`\ngate approve ${text}\ngate deny ${text} --reason …\n\`\`\``;
}

/** In code style Slack makes nothing of what it finds: no emphasis, no links, no names of channels. */
function code(value: string, lengthMax = slackValueLengthMax): string {
  const { text, isCut } = escapeSome(showOnOneLine(value), lengthMax);
  return `\`${text || ' '}${isCut ? '…' : ''}\``;
}

/**
 * Backticks would end the code style that a value stands in, and Slack has no way to escape them: a look-alike takes
 * their place. The other three open links, mentions and entities.
 */
const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '`': 'ˋ' };

/** As much from the start as fits into `lengthMax` characters (UTF-16) once it is escaped; no escape is cut in two. */
function escapeSome(value: string, lengthMax: number): { text: string; isCut: boolean } {
  let text = '';
  for (const character of value) {
    const escaped = escapes[character] ?? character;
    if (text.length + escaped.length > lengthMax) return { text, isCut: true };
    text += escaped;
  }
  return { text, isCut: false };
}
