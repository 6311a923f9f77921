/** Results as psql's aligned tables, safe to show: nothing in a value reaches the terminal as a control character. */
import { showOnOneLine } from '../../audit/visible-text.ts';
import type { SqlField, SqlRow } from '../../client/sql-text.ts';
import { displayWidth } from '../output.ts';
import { typeOids, type ResultWriter, type WriteOut } from './result-writer.ts';

/** So many rows, or so many characters of them, decide on the widths; what comes later may stand out. */
export const measuredRowsMax = 1000;
export const measuredLengthMax = 1024 * 1024;

const rightAligned: ReadonlySet<number> = new Set([
  typeOids.int2,
  typeOids.int4,
  typeOids.int8,
  typeOids.float4,
  typeOids.float8,
  typeOids.numeric,
  typeOids.money,
  typeOids.oid,
  typeOids.xid,
  typeOids.cid,
  typeOids.xid8,
]);

/** The lines of one value; an empty one for NULL. */
type Cell = readonly string[];
type Column = { readonly head: string; readonly isRight: boolean; width: number };

/** Each result as header, rows and "(n rows)". COPY … TO STDOUT passes as it is. */
export function createTableWriter(write: WriteOut): ResultWriter {
  let table: Table | undefined;
  const nothing = () => Promise.resolve();
  return {
    async fields(fields) {
      table = new Table(fields);
    },
    async rows(rows) {
      const text = table?.add(rows) ?? '';
      if (text !== '') await write(text);
    },
    copy: nothing,
    copyData: (pieces) => write(Buffer.concat(pieces)),
    async complete() {
      const text = table?.finish() ?? '';
      table = undefined;
      if (text !== '') await write(text);
    },
    async cut() {
      const text = table?.finishCut() ?? '';
      table = undefined;
      if (text !== '') await write(text);
    },
    async end() {
      // The count at the end is left out: it would make the rows so far look like all of them.
      const text = table?.flush() ?? '';
      if (text !== '') await write(text);
    },
  };
}

class Table {
  readonly #columns: readonly Column[];
  /** Rows that are held back until the widths are known; undefined when they are. */
  #measured: Cell[][] | undefined = [];
  #measuredLength = 0;
  #rows = 0;

  constructor(fields: readonly SqlField[]) {
    this.#columns = fields.map(({ name, typeOid }) => {
      const head = showOnOneLine(name);
      return { head, isRight: rightAligned.has(typeOid), width: widthOf(head) };
    });
  }

  /** Text that can be written now. */
  add(rows: readonly SqlRow[]): string {
    let text = '';
    for (const row of rows) {
      this.#rows++;
      const cells = row.map(cellOf);
      if (this.#measured === undefined) {
        text += formatRow(this.#columns, cells);
        continue;
      }
      this.#measured.push(cells);
      this.#measuredLength += row.reduce((sum, value) => sum + (value?.length ?? 0), 0);
      if (this.#measured.length >= measuredRowsMax || this.#measuredLength >= measuredLengthMax) text += this.flush();
    }
    return text;
  }

  /** The header and the rows that were held back. */
  flush(): string {
    if (this.#measured === undefined) return '';
    const rows = this.#measured;
    this.#measured = undefined;
    for (const row of rows) {
      row.forEach((cell, index) => {
        const column = this.#columns[index];
        if (column !== undefined) column.width = Math.max(column.width, ...cell.map(widthOf));
      });
    }
    return formatHead(this.#columns) + rows.map((row) => formatRow(this.#columns, row)).join('');
  }

  finish(): string {
    return `${this.flush()}(${this.#count})\n\n`;
  }

  /** Where more rows are left. */
  finishCut(): string {
    return `${this.flush()}(first ${this.#count})\n\n`;
  }

  get #count(): string {
    return `${this.#rows} ${this.#rows === 1 ? 'row' : 'rows'}`;
  }
}

function cellOf(value: string | null): Cell {
  if (value === null) return [''];
  return value.includes('\n') ? value.split('\n').map(showOnOneLine) : [showOnOneLine(value)];
}

function formatHead(columns: readonly Column[]): string {
  if (columns.length === 0) return '--\n';
  const heads = columns.map(({ head, width }) => {
    const blanks = width - widthOf(head);
    const left = Math.floor(blanks / 2);
    return ` ${' '.repeat(left)}${head}${' '.repeat(blanks - left)} `;
  });
  return `${heads.join('|')}\n${columns.map(({ width }) => '-'.repeat(width + 2)).join('+')}\n`;
}

/** A value of several lines takes several lines, each but the last with psql's `+` at its end. */
function formatRow(columns: readonly Column[], cells: readonly Cell[]): string {
  const height = Math.max(0, ...cells.map((cell) => cell.length));
  let text = '';
  for (let line = 0; line < height; line++) {
    const parts = cells.map((cell, index) => {
      const { width = 0, isRight = false } = columns[index] ?? {};
      const value = cell[line] ?? '';
      const pad = ' '.repeat(Math.max(0, width - widthOf(value)));
      const isLast = index === cells.length - 1;
      if (line < cell.length - 1) return ` ${isRight ? pad + value : value + pad}+`;
      if (isLast) return ` ${isRight && line < cell.length ? pad : ''}${value}`;
      return ` ${isRight ? pad + value : value + pad} `;
    });
    text += `${parts.join('|')}\n`;
  }
  return text;
}

/** Splitting into graphemes is slow, and most text needs none of it. */
function widthOf(text: string): number {
  return /^[\x20-\x7e]*$/.test(text) ? text.length : displayWidth(text);
}
