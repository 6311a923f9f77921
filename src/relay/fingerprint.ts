/** What an approval is bound to: hashes of exactly what runs. */
import { createHash } from 'node:crypto';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { StatementFacts } from '../sql/facts.ts';
import { Turns } from './turns.ts';

/**
 * SHA-256, in hex, over the text and over what its names stand for now: the same text under another search_path, or
 * after a table was replaced by a view, is another statement. `actingAs` names a changed role of the session,
 * `parameterTypes` are those that Parse declared: f($1) may be another function for each. What was approved for an agent
 * is not for its person or for another agent, nor the other way round.
 */
export function fingerprintOf(text: string, facts: readonly StatementFacts[], actingAs: string, parameterTypes: readonly number[], agent?: string): string {
  const meaning = facts.map(({ kinds, reads, writes, functions }) => [kinds, reads, writes, functions]);
  const declared = parameterTypes.slice(0, parameterTypes.findLastIndex((type) => type !== 0) + 1);
  return createHash('sha256').update(JSON.stringify([text, actingAs, meaning, ...(declared.length > 0 ? [declared] : []), ...(agent === undefined ? [] : [{ agent }])])).digest('hex');
}

/** SHA-256, in hex, over all values in order, each with its format and length. Others have their turn while it hashes long ones. */
export async function parameterHashOf(values: readonly BoundValue[]): Promise<string> {
  const hash = createHash('sha256');
  const turns = new Turns();
  for (const value of values) {
    hash.update(value === null ? 'null\0' : `${value.format} ${value.bytes.length}\0`);
    for (const piece of value === null ? [] : piecesOf(value.bytes)) {
      if (turns.isOver) await turns.next();
      hash.update(piece);
    }
  }
  return hash.digest('hex');
}

const pieceBytesMax = 1024 * 1024;

/** A piece is hashed in a millisecond or two. */
export function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytesMax) yield bytes.subarray(at, at + pieceBytesMax);
}
