/** Ids of grants, sessions and requests. */
import { randomBytes } from 'node:crypto';

/** 60 random bits in Crockford's base 32 without vowels, so that no id spells a word. */
export function createId(prefix: 'g' | 's' | 'r'): string {
  const alphabet = '0123456789bcdfghjkmnpqrstvwxyz23';
  return `${prefix}_${[...randomBytes(12)].map((byte) => alphabet[byte % 32]).join('')}`;
}
