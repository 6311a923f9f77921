/** Pieces of text that masks make, found inside of any other text: for those who cannot tell a mask from a value. */
import { hashPrefix, redacted, stars } from './expressions.ts';
import type { MaskRules } from './plan.ts';

const made = new RegExp(`\\[${redacted.slice(1, -1)}\\]|\\*{${stars.length}}|\\*{3}@|${hashPrefix}[0-9a-f]{32}`);
/** A shorter constant would be met by accident. */
const constantLengthMin = 4;

/** Undefined where there is none. Numbers, dates and the empty value are like any other and are not found. */
export function findSentinel(text: string, { rules }: Pick<MaskRules, 'rules'>): string | undefined {
  const piece = made.exec(text)?.[0];
  if (piece !== undefined) return piece;
  const constants = rules.flatMap(({ mask }) => (mask.kind === 'constant' && typeof mask.value === 'string' ? mask.value : []));
  return constants.find((value) => value.length >= constantLengthMin && text.includes(value));
}
