/** Content detectors: where a text holds what looks like a card, an account, a number of a person, an address or a secret. Linear in time. */
import { findCards } from './detect-card.ts';
import { findIbans } from './detect-iban.ts';
import { findEmails, findPhones, findSocialNumbers } from './detect-contact.ts';
import { findSecrets } from './detect-secret.ts';
import { redacted, stars } from './expressions.ts';
import type { Found } from './found.ts';
import type { DetectorKind } from './plan.ts';

/** A range of a text that a detector has found. */
export type Span = { readonly start: number; readonly end: number; readonly kind: DetectorKind };

const detectors: Readonly<Record<DetectorKind, (text: string) => Found>> = {
  card: findCards,
  iban: findIbans,
  ssn: findSocialNumbers,
  email: findEmails,
  phone: findPhones,
  secret: findSecrets,
};

/** Random identifiers hold long runs of digits by chance. */
const uuid = /(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f])/gi;
const numbersOnly: ReadonlySet<DetectorKind> = new Set(['card', 'ssn', 'phone']);

/**
 * In order, without overlaps: where two kinds meet, one span covers both and has the kind of the one that begins first.
 * All patterns are ASCII, so a text in any encoding that contains ASCII may be given as latin1, and spans are bytes then.
 */
export function detect(text: string, kinds: readonly DetectorKind[]): readonly Span[] {
  const spans = kinds.flatMap((kind) => detectors[kind](text).map(([start, end]): Span => ({ start, end, kind })));
  if (spans.length === 0) return spans;
  const ids = !spans.some(({ kind }) => numbersOnly.has(kind)) ? [] : [...text.matchAll(uuid)].map(({ index }): Span => ({ start: index, end: index + 36, kind: 'card' }));
  const real = ids.length === 0 ? spans : withoutThose(spans, ids);
  return merged(real.toSorted((a, b) => a.start - b.start || b.end - a.end));
}

/** Numbers that lie in an identifier are left out. Both lists are walked once. */
function withoutThose(spans: readonly Span[], ids: readonly Span[]): Span[] {
  let at = 0;
  return spans.toSorted((a, b) => a.start - b.start).filter(({ start, end, kind }) => {
    if (!numbersOnly.has(kind)) return true;
    while (at < ids.length && (ids[at] as Span).end <= start) at++;
    const id = ids[at];
    return id === undefined || id.start >= end;
  });
}

function merged(spans: readonly Span[]): readonly Span[] {
  const result: Span[] = [];
  for (const span of spans) {
    const last = result.at(-1);
    if (last === undefined || span.start >= last.end) result.push(span);
    else if (span.end > last.end) result[result.length - 1] = { ...last, end: span.end };
  }
  return result;
}

/** How what was found is written over: `shown` for people, `same-length` where lengths are part of a structure around it. */
export type Cover = 'shown' | 'same-length';

/** Of a card the last four digits stay, as masks show it; of everything else nothing does. */
export function maskSpans(text: string, spans: readonly Span[], cover: Cover = 'shown'): string {
  const parts: string[] = [];
  let at = 0;
  for (const { start, end, kind } of spans) {
    const found = text.slice(start, end);
    parts.push(text.slice(at, start), cover === 'shown' ? shown(found, kind) : sameLength(found, kind));
    at = end;
  }
  parts.push(text.slice(at));
  return parts.join('');
}

function shown(found: string, kind: DetectorKind): string {
  return kind === 'card' ? `${stars}${found.slice(-4)}` : redacted;
}

function sameLength(found: string, kind: DetectorKind): string {
  return kind === 'card' ? `${'*'.repeat(found.length - 4)}${found.slice(-4)}` : '*'.repeat(found.length);
}
