/** Results as CSV (RFC 4180 with newlines as line ends, as psql --csv and COPY write it). */
import type { SqlField, SqlRow } from '../../client/sql-text.ts';
import type { ResultWriter, WriteOut } from './result-writer.ts';

/**
 * A header per result, one result directly behind the other. NULL is an empty field and the empty string `""`, so that
 * COPY … FROM … CSV gives back what was there. COPY … TO STDOUT passes as it is.
 */
export function createCsvWriter(write: WriteOut): ResultWriter {
  const nothing = () => Promise.resolve();
  return {
    fields: (fields: readonly SqlField[]) => write(formatRow(fields.map(({ name }) => name))),
    rows: (rows: readonly SqlRow[]) => write(rows.map(formatRow).join('')),
    copy: nothing,
    copyData: (pieces) => write(Buffer.concat(pieces)),
    complete: nothing,
    cut: nothing,
    end: nothing,
  };
}

function formatRow(row: SqlRow): string {
  return `${row.map(formatValue).join(',')}\n`;
}

/** A lone \. would end the data of a COPY, blanks at the ends are lost on some readers, and `::` is a command to others. */
function formatValue(value: string | null): string {
  if (value === null) return '';
  if (value !== '' && value !== '\\.' && !/^::|[",\r\n]|^\s|\s$/.test(value)) return value;
  return `"${value.replaceAll('"', '""')}"`;
}
