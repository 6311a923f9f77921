/** The guard on RowDescription: no result column may come from a raw column with a mask. */
import { ByteReader } from '../pgwire/bytes.ts';
import { rawColumnKey } from './plan.ts';

/** Of section 54.7, RowDescription. */
export type ResultColumn = { readonly name: string; readonly relation: number; readonly column: number; readonly type: number; readonly format: number };

/** Read strictly inside its frame. Fails with `upstream-protocol`. */
export function decodeRowDescription(bytes: Buffer): readonly ResultColumn[] {
  const reader = new ByteReader(bytes);
  const columns: ResultColumn[] = [];
  for (let left = reader.uint16(); left > 0; left--) {
    const name = reader.string();
    const relation = reader.int32() >>> 0;
    const column = reader.uint16();
    const type = reader.int32() >>> 0;
    reader.take(6);
    columns.push({ name, relation, column, type, format: reader.uint16() });
  }
  reader.end();
  return columns;
}

/** The first column that comes from a raw one. */
export function guardColumns(columns: readonly ResultColumn[], raw: ReadonlySet<string>): ResultColumn | undefined {
  return columns.find(({ relation, column }) => relation !== 0 && raw.has(rawColumnKey(relation, column)));
}
