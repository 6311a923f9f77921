/** What a webhook is sent about a notice: one JSON body, bounded, with as much of the statement as its sink wants. */
import type { NotificationBody } from '../api/notification.ts';
import { reasonLengthMax } from '../api/api.ts';
import type { Parameter } from '../audit/entry.ts';
import type { HeldStatement, Notice } from '../grant/request.ts';
import { humanBehind, type Link, type Principal } from '../principal/principal.ts';
import type { Sink } from './sinks.ts';

/** Characters (UTF-16) of SQL that are sent; the record has all of it. */
export const notifiedSqlLengthMax = 8000;
export const notifiedParametersMax = 50;
export const notifiedParameterLengthMax = 200;
export const notifiedVotesMax = 20;
export const notifiedLinksMax = 12;
export const notifiedLinkLengthMax = 300;

type Included = Pick<Sink, 'includeSql' | 'includeParameters'>;

export function webhookMessage(notice: Notice, delivery: string, included: Included): string {
  return JSON.stringify(notificationBody(notice, delivery, included));
}

function notificationBody({ kind, at, request }: Notice, delivery: string, included: Included): NotificationBody {
  const { id, requester, target, role, reason, ticket, approval, rule, state, endReason, durationSeconds, statement } = request;
  return {
    v: 1,
    delivery,
    event: kind,
    at: at.toISOString(),
    request: {
      id,
      kind: request.kind,
      requester: person(requester),
      target,
      role,
      ...(reason !== undefined && { reason: beginning(reason, reasonLengthMax) }),
      ...(ticket !== undefined && { ticket: beginning(ticket, reasonLengthMax) }),
      rule,
      state,
      approve: { by: [...approval.by], count: approval.count },
      expiresAt: request.expiresAt.toISOString(),
      ...(endReason !== undefined && { endReason: beginning(endReason, reasonLengthMax) }),
      ...(durationSeconds !== undefined && { durationSeconds }),
      votes: request.votes.slice(-notifiedVotesMax).map((vote) => ({
        by: person(vote.by),
        decision: vote.decision,
        ...(vote.reason !== undefined && { reason: beginning(vote.reason, reasonLengthMax) }),
        at: vote.at.toISOString(),
      })),
      ...(statement && { statement: describeStatement(statement, included) }),
    },
  };
}

function person(principal: Principal) {
  const { name, subject, issuer, kind } = principal;
  const chain = notifiedLinks(principal);
  return { name, subject, issuer, kind, ...(chain.length > 0 && { chain: chain.map(shortLink) }) };
}

/** The links that are sent: of a long chain the first, and whom it ends with. */
export function notifiedLinks(principal: Principal): readonly Link[] {
  const { chain = [] } = principal;
  if (chain.length <= notifiedLinksMax) return chain;
  const first = chain.slice(0, notifiedLinksMax);
  const human = humanBehind(principal);
  return human === undefined || first.includes(human) ? first : [...first.slice(0, -1), human];
}

function shortLink({ value, id, url, ...link }: Link): Link {
  return {
    ...link,
    value: beginning(value, notifiedLinkLengthMax),
    ...(id !== undefined && { id: beginning(id, notifiedLinkLengthMax) }),
    ...(url !== undefined && { url: beginning(url, notifiedLinkLengthMax) }),
  };
}

function describeStatement(statement: HeldStatement, included: Included): NotificationBody['request']['statement'] {
  const { session, sql, facts } = statement;
  const shown = beginning(sql, notifiedSqlLengthMax);
  return {
    session,
    ...(included.includeSql && { sql: shown, ...(shown !== sql && { sqlCut: true }) }),
    kinds: [...new Set(facts.flatMap(({ kinds }) => kinds))],
    commands: [...new Set(facts.flatMap(({ commands }) => commands))],
    ...(included.includeParameters && {
      parameters: notifiedParameters(statement.parameters),
      ...(statement.parameters.length > notifiedParametersMax && { parametersCut: true }),
    }),
  };
}

/** The first of them, long ones cut. */
export function notifiedParameters(parameters: readonly Parameter[]) {
  return parameters.slice(0, notifiedParametersMax).map((parameter) => {
    if (parameter === null) return null;
    if (typeof parameter === 'string') {
      const text = beginning(parameter, notifiedParameterLengthMax);
      return text === parameter ? text : { text, cut: true as const };
    }
    if ('bytes' in parameter) return { bytes: parameter.bytes };
    const { base64 } = parameter;
    return base64.length <= notifiedParameterLengthMax ? { base64 } : { bytes: Buffer.byteLength(base64, 'base64') };
  });
}

/** At most `lengthMax` characters (UTF-16) from the start, with no half of a surrogate pair at the end. */
function beginning(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : text.slice(0, lengthMax).replace(/[\uD800-\uDBFF]$/, '');
}
