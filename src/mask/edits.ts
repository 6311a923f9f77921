/** Edits on the bytes of a text: where tokens stand, and what comes out. Pure. */
import type { Token } from '../sql/secrets.ts';
import type { Edit } from './masked.ts';
import { Refusal } from './refusal.ts';

/** Tokens without comments, found by where they begin. */
export class Tokens {
  readonly list: readonly Token[];
  readonly #at = new Map<number, number>();

  constructor(tokens: readonly Token[]) {
    this.list = tokens.filter(({ tokenName }) => !tokenName.endsWith('_COMMENT'));
    for (const [index, { start }] of this.list.entries()) this.#at.set(start, index);
  }

  /** Fails where no token begins there: relay and scanner disagree on the text. */
  indexAt(start: number): number {
    const index = this.#at.get(start);
    if (index === undefined) throw new Refusal('syntax', 'the statement cannot be taken apart safely', 'Write it in plainer words.', start);
    return index;
  }

  word(index: number): string {
    return this.list[index]?.text.toLowerCase() ?? '';
  }

  /** The index of the last token of a name with so many parts, UESCAPE included. */
  endOfName(index: number, parts: number): number {
    let at = index + 2 * (parts - 1);
    if (this.word(at + 1) === 'uescape') at += 2;
    return at;
  }

  /** The index of the parenthesis that closes the one at `index`. */
  closing(index: number): number {
    let depth = 0;
    for (let at = index; at < this.list.length; at++) {
      if (this.word(at) === '(') depth++;
      else if (this.word(at) === ')' && --depth === 0) return at;
    }
    throw new Refusal('syntax', 'the statement cannot be taken apart safely', 'Write it in plainer words.');
  }

  start(index: number): number {
    return (this.list[index] as Token).start;
  }

  end(index: number): number {
    return (this.list[index] as Token).end;
  }
}

/** Of UTF-8, which continues characters with bytes of the form 10xxxxxx. */
export function charactersIn(bytes: Buffer): number {
  let count = 0;
  for (const byte of bytes) if ((byte & 0xc0) !== 0x80) count += 1;
  return count;
}

/** An edit before its characters are counted. */
export type Change = Omit<Edit, 'characters'>;

/** In the order of the text. Fails where two of them overlap. */
export function sortEdits(bytes: Buffer, changes: readonly Change[]): Edit[] {
  const counted = changes.map((change): Edit => ({ ...change, characters: charactersIn(bytes.subarray(change.start, change.end)) }));
  const sorted = counted.toSorted((left, right) => left.start - right.start || left.end - right.end);
  for (const [index, { start }] of sorted.entries()) {
    if (index > 0 && start < (sorted[index - 1] as Edit).end) throw new Refusal('syntax', 'the statement cannot be rewritten safely', 'Write it in plainer words.', start);
  }
  return sorted;
}

export function applyEdits(bytes: Buffer, edits: readonly Edit[]): string {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of edits) {
    parts.push(bytes.subarray(at, start), Buffer.from(text, 'utf8'));
    at = end;
  }
  return Buffer.concat([...parts, bytes.subarray(at)]).toString('utf8');
}

/** Ranges of bytes in the edited text that an edit has put there. */
export function rangesOf(edits: readonly Edit[]): { readonly start: number; readonly end: number }[] {
  let shift = 0;
  return edits.map(({ start, end, text }) => {
    const length = Buffer.byteLength(text);
    const range = { start: start + shift, end: start + shift + length };
    shift += length - (end - start);
    return range;
  });
}
