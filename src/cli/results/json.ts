/** Results as JSON: one array of results, or one row per line. Values are embedded only where nothing is lost. */
import type { SqlField, SqlRow } from '../../client/sql-text.ts';
import { typeOids, type ResultWriter, type WriteOut } from './result-writer.ts';

type Encode = (text: string) => string;
type Column = { readonly key: string; readonly lead: string; readonly encode: Encode };

/**
 * One array, an item per statement in order: `{"fields":[{"name","key","typeOid"}],"rows":[{key: value}],"command"}`,
 * `{"command"}` for a statement without rows, `{"copy":[text],"command"}` for COPY … TO STDOUT (`copyBase64` for its
 * binary format). `"truncated":true` in place of `command` says that there are more rows than were wanted. `key` is the column's name, with `_2`, `_3` … where it is taken. A failure leaves the item that it
 * hit with `"incomplete":true` in place of `command`; where nothing came before it, nothing is written.
 */
export function createJsonWriter(write: WriteOut): ResultWriter {
  let columns: readonly Column[] = [];
  let isBinary = false;
  let hasItems = false;
  let open: 'rows' | 'copy' | undefined;
  let isFirst = true;
  const begin = (text: string): Promise<void> => {
    const lead = hasItems ? ',\n' : '[';
    hasItems = true;
    isFirst = true;
    return write(`${lead}{${text}`);
  };
  const append = (items: readonly string[]): Promise<void> => {
    const lead = isFirst ? '\n' : ',\n';
    isFirst = false;
    return write(lead + items.join(',\n'));
  };
  const close = (text: string): Promise<void> => {
    const lead = open === undefined ? '' : `${isFirst ? '' : '\n'}],`;
    open = undefined;
    return write(`${lead}${text}}`);
  };
  return {
    async fields(fields) {
      columns = columnsOf(fields);
      open = 'rows';
      const described = fields.map(({ name, typeOid }, index) => ({ name, key: columns[index]?.key, typeOid }));
      await begin(`"fields":${JSON.stringify(described)},"rows":[`);
    },
    rows: (rows) => append(rows.map((row) => formatRow(columns, row))),
    async copy(binary) {
      isBinary = binary;
      open = 'copy';
      await begin(`"${binary ? 'copyBase64' : 'copy'}":[`);
    },
    copyData: (pieces) => append(pieces.map((piece) => formatPiece(piece, isBinary))),
    async complete(tag) {
      if (open === undefined) await begin('');
      await close(`"command":${JSON.stringify(tag)}`);
    },
    cut: () => close('"truncated":true'),
    async end() {
      if (open !== undefined) await close('"incomplete":true');
      if (hasItems) await write(']\n');
    },
  };
}

/** One object per row and line, of all results in order; `{"copy": text}` for each row of COPY … TO STDOUT. */
export function createNdjsonWriter(write: WriteOut): ResultWriter {
  const nothing = () => Promise.resolve();
  let columns: readonly Column[] = [];
  let isBinary = false;
  return {
    async fields(fields) {
      columns = columnsOf(fields);
    },
    rows: (rows) => write(rows.map((row) => `${formatRow(columns, row)}\n`).join('')),
    async copy(binary) {
      isBinary = binary;
    },
    copyData(pieces) {
      const key = isBinary ? 'copyBase64' : 'copy';
      return write(pieces.map((piece) => `{"${key}":${formatPiece(piece, isBinary)}}\n`).join(''));
    },
    complete: nothing,
    cut: nothing,
    end: nothing,
  };
}

function columnsOf(fields: readonly SqlField[]): Column[] {
  const names = new Set(fields.map(({ name }) => name));
  const taken = new Set<string>();
  return fields.map(({ name, typeOid }) => {
    let key = name;
    // A column that is really called id_2 keeps its name, whatever stands before it.
    for (let count = 2; taken.has(key) || (key !== name && names.has(key)); count++) key = `${name}_${count}`;
    taken.add(key);
    return { key, lead: `${JSON.stringify(key)}:`, encode: encoderOf(typeOid) };
  });
}

/** Written by hand: an object would reorder keys like "1" and could not hold "__proto__". */
function formatRow(columns: readonly Column[], row: SqlRow): string {
  let text = '{';
  for (let index = 0; index < row.length; index++) {
    const column = columns[index];
    const value = row[index];
    if (column === undefined) continue;
    text += index === 0 ? column.lead : `,${column.lead}`;
    text += value === null || value === undefined ? 'null' : column.encode(value);
  }
  return `${text}}`;
}

function formatPiece(piece: Buffer, isBinary: boolean): string {
  return JSON.stringify(piece.toString(isBinary ? 'base64' : 'utf8'));
}

function encoderOf(typeOid: number): Encode {
  switch (typeOid) {
    case typeOids.bool:
      return (text) => (text === 't' ? 'true' : 'false');
    case typeOids.int2:
    case typeOids.int4:
    case typeOids.oid:
      return (text) => text;
    case typeOids.int8:
      return (text) => (Number.isSafeInteger(Number(text)) ? text : JSON.stringify(text));
    case typeOids.float4:
    case typeOids.float8:
      // NaN and the infinities are no numbers of JSON.
      return (text) => (/^-?\d/.test(text) ? text : JSON.stringify(text));
    case typeOids.json:
    case typeOids.jsonb:
      // PostgreSQL has checked it; a line break can only stand between two tokens there.
      return (text) => text.replaceAll(/[\r\n]+/g, ' ');
    default:
      return JSON.stringify;
  }
}
