/** What a log asks of a witness: the body of add-checkpoint (C2SP tlog-witness). Pure. */
import { GateError } from '../errors/errors.ts';
import type { Hash } from './tree.ts';

export type AddCheckpoint = {
  /** Size of the newest tree that the witness has cosigned, as far as the log knows; 0 for none. */
  readonly old: number;
  /** From `old` to the checkpoint; empty for `old` 0. */
  readonly proof: readonly Hash[];
  /** The checkpoint with the signature of the log. */
  readonly note: string;
};

/** Lines of a proof, by the specification. */
export const proofLinesMax = 63;
/** Enough for the longest proof and as many signatures as a witness must take, post-quantum ones included. */
export const addCheckpointBytesMax = 128 * 1024;
/** Media type of an answer 409, whose body is the size that `old` should have been. */
export const sizeMediaType = 'text/x.tlog.size';

export function formatAddCheckpoint({ old, proof, note }: AddCheckpoint): string {
  return `old ${old}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${note}`;
}

/** Fails with `usage`. The note is handed on as it is. */
export function parseAddCheckpoint(text: string): AddCheckpoint {
  const end = text.indexOf('\n\n');
  const [first = '', ...lines] = text.slice(0, Math.max(end, 0)).split('\n');
  const old = /^old (0|[1-9]\d{0,14})$/.exec(first)?.[1];
  if (old === undefined) throw new GateError('usage', 'the request does not begin with "old", a size and a proof');
  if (lines.length > proofLinesMax) throw new GateError('usage', `the proof has more than ${proofLinesMax} lines`);
  const proof = lines.map((line) => {
    const hash = Buffer.from(line, 'base64');
    if (hash.length !== 32 || hash.toString('base64') !== line) throw new GateError('usage', 'a line of the proof is not a hash in base64');
    return hash;
  });
  return { old: Number(old), proof, note: text.slice(end + 2) };
}
