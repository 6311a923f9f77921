/** Entries in the Common Event Format, version 0: a header whose fields bars part, and an extension of `key=value` pairs. */
import { describeLink, strengthOf } from '../../principal/behind.ts';
import { showHidden, showOnOneLine } from '../visible-text.ts';
import { severityOf, type Severity, type SiemRecord, type Who } from './context.ts';
import { factsOf, type Facts } from './facts.ts';

/** From 0 to 10; above 8 is what the format calls very high. */
const severityNumbers: Readonly<Record<Severity, number>> = { info: 1, low: 3, medium: 5, high: 8, critical: 10 };

export function formatCef(record: SiemRecord): string {
  const { entry, relayVersion = '' } = record;
  const facts = factsOf(record);
  const severity = severityNumbers[severityOf(entry.event)];
  const header = ['gate', 'gate relay', relayVersion, facts.kind, nameOf(facts.kind), String(severity)].map(escapeHeader);
  const pairs = extensionOf(record, facts).map(([key, value]) => `${key}=${escapeValue(cut(value, valueCharactersMax(key)))}`);
  return `CEF:0|${header.join('|')}|${pairs.join(' ')}`;
}

/** `session.open` becomes `Session open`. */
function nameOf(kind: string): string {
  return `${kind.charAt(0).toUpperCase()}${kind.slice(1).replaceAll('.', ' ')}`;
}

type Pair = readonly [key: string, value: string];

function extensionOf({ index, relay, entry }: SiemRecord, facts: Facts): readonly Pair[] {
  const { actor, affected, source, details } = facts;
  const pairs: readonly (readonly [string, string | number | undefined])[] = [
    ['rt', facts.timeMs],
    ['externalId', facts.uid],
    ['deviceExternalId', relay],
    ['act', actionOf(facts)],
    ['outcome', facts.outcome],
    ['reason', facts.sqlstate ?? facts.reason],
    ['suser', actor?.name],
    ['suid', actor && `${actor.issuer} ${actor.subject}`],
    ['duser', affected?.name],
    ['duid', affected && `${affected.issuer} ${affected.subject}`],
    ...sourcePairs(source),
    ['in', numberOf(details['bytesIn'])],
    ['out', numberOf(details['bytesOut'])],
    ...labelled('cs1', 'rule', facts.rule),
    ...labelled('cs2', 'target', facts.target),
    ...labelled('cs3', 'role', facts.role),
    ...labelled('cs4', 'session', facts.session),
    ...labelled('cs5', 'grant or request', facts.request ?? facts.grant),
    ...labelled('cs6', 'statement', facts.shape),
    ...labelled('cn1', 'leaf index', index),
    ...labelled('cn2', 'sequence in session', entry.seq),
    ...labelled('cn3', 'rows', numberOf(details['rows'])),
    ...labelled('flexString1', facts.human === undefined ? 'claimed human behind' : 'human behind', (facts.human ?? facts.claimedHuman)?.name),
    ...labelled('flexString2', 'chain', chainOf(actor)),
    ['msg', facts.message],
  ];
  return pairs.flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)] as const]));
}

/** How sure each link is stands before what it says, so that no cut takes it away; none can look like two. */
function chainOf(who: Who | undefined): string | undefined {
  return who?.chain?.map((link) => `${link.kind}, ${strengthOf(link)}: ${showOnOneLine(describeLink(link)).replaceAll(';', ',')}`).join('; ');
}

function actionOf({ kind, details }: Facts): string | undefined {
  if (kind === 'hold') return 'hold';
  const action = details['effect'] ?? details['decision'] ?? details['state'];
  return typeof action === 'string' ? action : undefined;
}

/** The key for a source address takes IPv4 alone; IPv6 has fields of its own. */
function sourcePairs(source: Facts['source']): (readonly [string, string | number | undefined])[] {
  if (source?.ip === undefined) return [];
  const address = source.ip.includes(':') ? labelled('c6a1', 'Source IPv6 Address', source.ip) : [['src', source.ip] as const];
  return [...address, ['spt', source.port]];
}

function labelled(key: string, label: string, value: string | number | undefined): (readonly [string, string | number])[] {
  return value === undefined ? [] : [[key, value], [`${key}Label`, label]];
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

/** Characters that the format's dictionary gives a value; those of custom strings are the most. */
function valueCharactersMax(key: string): number {
  if (/^cs\d$/.test(key)) return 4000;
  if (key === 'act' || key === 'outcome') return 63;
  if (key === 'deviceExternalId') return 255;
  return key === 'externalId' ? 40 : 1023;
}

function cut(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  // Not between the halves of a surrogate pair, which would make a character of its own.
  return text.slice(0, charactersMax - 1).replace(/[\uD800-\uDBFF]$/, '') + '…';
}

/** In the header a backslash and a bar are escaped, and there are no line breaks. */
export function escapeHeader(text: string): string {
  return showOnOneLine(text).replace(/[\\|]/g, String.raw`\$&`);
}

/** In values a backslash and an equals sign are escaped, and line breaks are written as `\n` and `\r`. */
export function escapeValue(text: string): string {
  const visible = text.split('\r').map(showHidden).join('\r');
  return visible.replace(/[\\=]/g, String.raw`\$&`).replaceAll('\n', String.raw`\n`).replaceAll('\r', String.raw`\r`);
}
