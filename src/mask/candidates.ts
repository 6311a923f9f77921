/** Where detectors could find something in the bytes of messages: looked for without decoding, and never less than they would find. */
import { findCards, hasLuhnDigit } from './detect-card.ts';
import type { DetectorKind } from './plan.ts';

/** What each find holds. Bounded, and without a look at what is around it, which may be no part of the value; but see `isIbanHead`. */
const patterns: Readonly<Record<Exclude<DetectorKind, 'card' | 'email'>, RegExp>> = {
  iban: /(?<![0-9a-z])[a-z]{2}\d{2}(?: ?[0-9a-z]){11}/gi,
  ssn: /\d{3}-\d{2}-\d{4}/g,
  phone: /\+[1-9](?:[ .()/-]{0,2}\d){7}|[2-9]\d{2}-\d{4}/g,
  secret: /eyJ[\w-]{8}|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{35}|gh[oprsu]_[0-9a-z]{36}|github_pat_\w{22}|xox[abeoprs]-[0-9a-z-]{10}|[rs]k_live_[0-9a-z]{16}|-----BEGIN /gi,
};

type Place = { readonly next: (from: number) => number; at: number };

/** All candidates in one buffer but those of cards, from its beginning to its end. */
export class Candidates {
  readonly #bytes: Buffer;
  readonly #places: readonly Place[];
  readonly #hasIbans: boolean;
  #next = -1;

  constructor(bytes: Buffer, kinds: readonly DetectorKind[]) {
    this.#bytes = bytes;
    this.#hasIbans = kinds.includes('iban');
    let text = '';
    this.#places = kinds.flatMap((kind): Place[] => {
      if (kind === 'card') return [];
      if (kind === 'email') return [{ next: (from) => bytes.indexOf(0x40, from), at: -1 }];
      if (text === '') text = bytes.toString('latin1');
      return [{ next: nextOf(patterns[kind], text), at: -1 }];
    });
  }

  /** Whether one begins in this range, which is a whole value. Ranges must be asked for in order. */
  isIn(start: number, end: number): boolean {
    if (this.#hasIbans && isIbanHead(this.#bytes, start)) return true;
    if (this.#next < start) this.#next = this.#find(start);
    return this.#next < end;
  }

  #find(from: number): number {
    let least = Infinity;
    for (const place of this.#places) {
      if (place.at < from) {
        const at = place.next(from);
        place.at = at === -1 ? Infinity : at;
      }
      least = Math.min(least, place.at);
    }
    return least;
  }
}

function nextOf(pattern: RegExp, text: string): (from: number) => number {
  return (from) => {
    pattern.lastIndex = from;
    return pattern.exec(text)?.index ?? -1;
  };
}

/** At the beginning of a value, before which the last byte of its length may look like a letter or digit. */
function isIbanHead(bytes: Buffer, at: number): boolean {
  return isLetter(bytes[at]) && isLetter(bytes[at + 1]) && roles[bytes[at + 2] ?? 0] === digit && roles[bytes[at + 3] ?? 0] === digit;
}

function isLetter(byte = 0): boolean {
  return (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x41 && byte <= 0x5a);
}

const digit = 1;
const joint = 2;
/** What each byte is to a card: a digit, a blank or dash between groups, or nothing. */
const roles = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x30 && byte <= 0x39 ? digit : byte === 0x20 || byte === 0x2d ? joint : 0));
const digitsMin = 13;
const digitsMax = 19;

/** Whether this range holds a card but for what stands right around it. Looks at the last byte first of where one would have to be, and mostly at that alone. */
export function mayHoldCard(bytes: Buffer, start: number, end: number): boolean {
  let first = start;
  for (let last = first + digitsMin - 1; last < end; last = first + digitsMin - 1) {
    let at = last;
    let role = 0;
    for (let before = 0; at >= first; at--, before = role) {
      role = roles[bytes[at] as number] as number;
      if (role === 0 || (role & before) === joint) break;
    }
    if (at >= first) {
      first = at + 1;
      continue;
    }
    const past = endOfRun(bytes, last, end);
    if (isCardRun(bytes, first, past)) return true;
    first = past + 1;
  }
  return false;
}

/** Behind the digits and single joints that go on from `at`. */
function endOfRun(bytes: Buffer, at: number, end: number): number {
  let before = roles[bytes[at] as number] as number;
  for (let next = at + 1; next < end; next++) {
    const role = roles[bytes[next] as number] as number;
    if (role === 0 || (role & before) === joint) return next;
    before = role;
  }
  return end;
}

function isCardRun(bytes: Buffer, start: number, end: number): boolean {
  let count = 0;
  for (let at = start; at < end; at++) if (roles[bytes[at] as number] === digit) count++;
  if (count < digitsMin) return false;
  if (count < end - start) return findCards(bytes.toString('latin1', start, end)).length > 0;
  return count <= digitsMax && hasLuhnDigit(bytes, start, end);
}
