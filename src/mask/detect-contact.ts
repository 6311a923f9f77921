/** Numbers and addresses of people in a text: US social security numbers, e-mail addresses, telephone numbers. */
import type { Found } from './found.ts';

/** Areas 000, 666 and from 900 on, group 00 and serial 0000 were never given out. */
const socialNumber = /(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-]*\d)/g;

export function findSocialNumbers(text: string): Found {
  return [...text.matchAll(socialNumber)].map(({ index }) => [index, index + 11] as const);
}

const localMax = 64;
const domainMax = 253;
const letters = 'abcdefghijklmnopqrstuvwxyz';
const domainSigns = codesOf(`0123456789${letters}${letters.toUpperCase()}.-`);
const localSigns = codesOf(`0123456789${letters}${letters.toUpperCase()}.-!#$%'+^_\`{|}~`);
const domainEnd = /\.[a-z]{2,24}$/i;

function codesOf(characters: string): Uint8Array {
  return Uint8Array.from({ length: 128 }, (_, code) => (characters.includes(String.fromCharCode(code)) ? 1 : 0));
}

/** From each @ outwards, over no more than an address may have. */
export function findEmails(text: string): Found {
  const found: [number, number][] = [];
  let past = 0;
  for (let at = text.indexOf('@'); at !== -1; at = text.indexOf('@', at + 1)) {
    let start = at;
    while (start > past && at - start < localMax && localSigns[text.charCodeAt(start - 1)] === 1) start--;
    let end = at + 1;
    while (end < text.length && end - at <= domainMax && domainSigns[text.charCodeAt(end)] === 1) end++;
    while (end > at + 1 && /[.-]/.test(text[end - 1] as string)) end--;
    if (start === at || !domainEnd.test(text.slice(Math.max(at + 2, end - 32), end))) continue;
    found.push([start, end]);
    past = end;
  }
  return found;
}

const digitsMin = 9;
/** E.164. */
const digitsMax = 15;
/** A plus with a country, and groups with one or two signs between them. */
const withCountry = /(?<![0-9a-z+])\+[1-9](?:[ .()/-]{0,2}\d){7,14}(?!\d)/gi;
/** As in North America: (555) 123-4567, 555-123-4567. */
const american = /(?<![\d-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}-)[2-9]\d{2}-\d{4}(?![\d-]*\d)/g;

export function findPhones(text: string): Found {
  const worldwide = [...text.matchAll(withCountry)].filter(({ 0: number }) => {
    const digits = number.replaceAll(/\D/g, '').length;
    return digits >= digitsMin && digits <= digitsMax;
  });
  return [...worldwide, ...text.matchAll(american)].map(({ index, 0: number }) => [index, index + number.length] as const).toSorted(([a], [b]) => a - b);
}
