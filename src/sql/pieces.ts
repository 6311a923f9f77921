/** A large plain value in pieces that are handed over one at a time, so that taking up any of them is short work. Pure. */

/** Values (those inside of others counted) in one piece, about. */
export const pieceValuesMax = 4000;
/** A piece is no deeper than this, however deep the value is. */
const pieceDepthMax = 200;

type Container = unknown[] | { [key: string]: unknown };

/**
 * A part of a value, and where in it later pieces belong: each in turn, under the key, or at the end of the list where
 * there is none. A list may come in several pieces: then `in` is the value itself, and stands for the list that it goes on with.
 */
export type Piece = { readonly value: unknown; readonly holes: readonly { readonly in: Container; readonly key?: string }[] };

/** What the next piece is to be made of. `from`: where in a list it begins that goes on with it. */
type Rest = { readonly value: unknown; readonly from?: number };

/** The pieces of plain data in the order in which `joinPiece` takes them. Typed arrays stay whole. */
export function* cutIntoPieces(value: unknown, valuesMax = pieceValuesMax): Generator<Piece, undefined> {
  const rests: Rest[] = [{ value }];
  for (let at = 0; at < rests.length; at++) {
    const rest = rests[at] as Rest;
    // Trees may come to millions of pieces of work; what is done with is not kept.
    rests[at] = { value: undefined };
    yield cutPiece(rest, rests, valuesMax);
  }
}

function cutPiece({ value, from }: Rest, rests: Rest[], valuesMax: number): Piece {
  const holes: { in: Container; key?: string }[] = [];
  let left = valuesMax;
  const copy = (one: unknown, depth: number, start = 0): unknown => {
    left -= typeof one === 'string' ? 1 + (one.length >> 6) : 1;
    if (typeof one !== 'object' || one === null || ArrayBuffer.isView(one)) return one;
    return Array.isArray(one) ? copyList(one as unknown[], depth, start) : copyObject(one as { [key: string]: unknown }, depth);
  };
  const isLater = (one: unknown, depth: number) => (left <= 0 || depth >= pieceDepthMax) && typeof one === 'object' && one !== null;
  const copyList = (list: readonly unknown[], depth: number, start: number): unknown[] => {
    const out: unknown[] = [];
    for (let index = start; index < list.length; index++) {
      // At least one of them, so that each piece gets on.
      if ((left <= 0 && index > start) || (depth >= pieceDepthMax && depth > 0)) {
        holes.push({ in: out });
        rests.push({ value: list, from: index });
        break;
      }
      out.push(copy(list[index], depth + 1));
    }
    return out;
  };
  const copyObject = (object: { readonly [key: string]: unknown }, depth: number): { [key: string]: unknown } => {
    const out: { [key: string]: unknown } = {};
    for (const key of Object.keys(object)) {
      const one = object[key];
      if (isLater(one, depth + 1)) {
        // The place in the order of fields is taken now.
        out[key] = undefined;
        holes.push({ in: out, key });
        rests.push({ value: one });
      } else out[key] = copy(one, depth + 1);
    }
    return out;
  };
  return { value: copy(value, 0, from), holes };
}

/** Puts a value together again from its pieces. */
export class JoinedPieces {
  readonly #holes: Piece['holes'][number][] = [];
  #filled = 0;
  #isBegun = false;
  value: unknown;

  /** Whether more pieces belong to it. */
  get isWhole(): boolean {
    return this.#isBegun && this.#filled === this.#holes.length;
  }

  add({ value, holes }: Piece): void {
    const list = this.#isBegun ? this.#fill(value) : undefined;
    if (!this.#isBegun) this.value = value;
    this.#isBegun = true;
    for (const hole of holes) this.#holes.push(list !== undefined && hole.in === value ? { in: list } : hole);
  }

  /** Answers the list that the value goes on with. */
  #fill(value: unknown): unknown[] | undefined {
    const hole = this.#holes[this.#filled++];
    if (hole === undefined) throw new RangeError('a piece belongs nowhere');
    if (hole.key !== undefined) {
      (hole.in as { [key: string]: unknown })[hole.key] = value;
      return undefined;
    }
    const list = hole.in as unknown[];
    for (const item of value as unknown[]) list.push(item);
    return list;
  }
}
