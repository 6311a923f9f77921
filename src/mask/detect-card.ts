/** Payment card numbers in a text: ISO/IEC 7812 numbers of known issuers with a right check digit, plain or in the usual groups. */
import type { Found } from './found.ts';

const digitsMin = 13;
const digitsMax = 19;
/** The ways in which people and forms write cards in groups. */
const groupings = new Set(['4-4-4-4', '4-6-5', '4-6-4', '4-4-4-1', '4-4-4-4-3', '4-4-4-3', '4-4-5']);
const groupsMax = 5;

/** First digits of an issuer's numbers, and how long these are. */
const issuers: readonly { readonly prefix: RegExp; readonly lengths: readonly number[] }[] = [
  { prefix: /^4/, lengths: [13, 16, 19] },
  { prefix: /^(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)/, lengths: [16] },
  { prefix: /^3[47]/, lengths: [15] },
  { prefix: /^(?:6011|64[4-9]|65)/, lengths: [16, 17, 18, 19] },
  { prefix: /^(?:30[0-5]|3095|3[689])/, lengths: [14, 16, 19] },
  { prefix: /^35(?:2[89]|[3-8])/, lengths: [16, 17, 18, 19] },
  { prefix: /^62/, lengths: [16, 17, 18, 19] },
  { prefix: /^220[0-4]/, lengths: [16, 17, 18, 19] },
  { prefix: /^(?:5018|5020|5038|5893|6304|6759|676[1-3])/, lengths: [13, 14, 15, 16, 17, 18, 19] },
];

type Group = { readonly start: number; readonly end: number };

export function findCards(text: string): Found {
  const found: [number, number][] = [];
  let groups: Group[] = [];
  for (const { index, 0: digits } of text.matchAll(/\d+/g)) {
    const group = { start: index, end: index + digits.length };
    const last = groups.at(-1);
    if (last !== undefined && !isJoined(text, last, group)) {
      addCards(text, groups, found);
      groups = [];
    }
    groups.push(group);
  }
  addCards(text, groups, found);
  return found;
}

/** One blank or dash stands between. */
function isJoined(text: string, { end }: Group, { start }: Group): boolean {
  return start - end === 1 && (text[end] === ' ' || text[end] === '-');
}

/** The longest card from each group on; what belongs to one is not looked at again. */
function addCards(text: string, groups: readonly Group[], found: [number, number][]): void {
  for (let first = 0; first < groups.length; first++) {
    for (let count = Math.min(groupsMax, groups.length - first); count > 0; count--) {
      const run = groups.slice(first, first + count);
      const { start } = run[0] as Group;
      const { end } = run.at(-1) as Group;
      if (!isCard(text, run) || !standsAlone(text, start, end)) continue;
      found.push([start, end]);
      first += count - 1;
      break;
    }
  }
}

function isCard(text: string, run: readonly Group[]): boolean {
  const length = run.reduce((sum, { start, end }) => sum + end - start, 0);
  if (length < digitsMin || length > digitsMax) return false;
  if (run.length > 1 && !groupings.has(run.map(({ start, end }) => end - start).join('-'))) return false;
  const digits = run.map(({ start, end }) => text.slice(start, end)).join('');
  return isCardNumber(digits);
}

/** Part of a hexadecimal number or the fraction of a decimal one is no card. */
function standsAlone(text: string, start: number, end: number): boolean {
  if (/[0-9a-f]/i.test(text[end] ?? '')) return false;
  const before = text[start - 1] ?? '';
  return !/[0-9a-f]/i.test(before) && !(before === '.' && /\d/.test(text[start - 2] ?? ''));
}

/** Of plain digits. */
export function isCardNumber(digits: string): boolean {
  return issuers.some(({ prefix, lengths }) => lengths.includes(digits.length) && prefix.test(digits)) && hasLuhnDigit(Buffer.from(digits, 'latin1'), 0, digits.length);
}

/** Of a range of plain digits in ASCII. */
export function hasLuhnDigit(digits: Uint8Array, start: number, end: number): boolean {
  let sum = 0;
  for (let at = end - 1, isDoubled = false; at >= start; at--, isDoubled = !isDoubled) {
    const digit = (digits[at] as number) - 0x30;
    sum += isDoubled ? (digit > 4 ? digit * 2 - 9 : digit * 2) : digit;
  }
  return sum % 10 === 0;
}
