/** From what the server sends to what exec writes: rows to stdout in a format, tags, notices and events to stderr. */
import type { SqlHandlers } from '../../../client/sql-text.ts';
import type { Io } from '../../io.ts';
import type { ResultFormat, ResultWriter } from '../../results/result-writer.ts';
import { disarm, disarmJson } from '../../workflow-command.ts';
import type { RunRecord } from './run-record.ts';

export async function createResultWriter(format: ResultFormat, io: Io): Promise<ResultWriter> {
  // What is for people, or stays the same value, can be kept from commanding the runner that reads the log.
  const change = io.isActions ? { table: disarm, json: disarmJson, ndjson: disarmJson, csv: undefined }[format] : undefined;
  const write = (data: string | Uint8Array) => io.write(change === undefined || typeof data !== 'string' ? data : change(data));
  switch (format) {
    case 'table':
      return (await import('../../results/table.ts')).createTableWriter(write);
    case 'csv':
      return (await import('../../results/csv.ts')).createCsvWriter(write);
    case 'json':
      return (await import('../../results/json.ts')).createJsonWriter(write);
    case 'ndjson':
      return (await import('../../results/json.ts')).createNdjsonWriter(write);
  }
}

export function createHandlers(writer: ResultWriter, format: ResultFormat, io: Io, record: RunRecord): SqlHandlers {
  let rowsWritten: number | undefined;
  let number = 0;
  return {
    begin(index) {
      number = index + 1;
      record.begin(index);
    },
    stopped: (index, fate) => record.stop(index, fate),
    fields(fields) {
      rowsWritten = 0;
      return writer.fields(fields);
    },
    async rows(rows) {
      await writer.rows(rows);
      rowsWritten = (rowsWritten ?? 0) + rows.length;
    },
    copy: (isBinary) => writer.copy(isBinary),
    copyData: (pieces) => writer.copyData(pieces),
    async complete(tag) {
      await writer.complete(tag);
      record.addResult({ tag, rows: rowsWritten });
      // In JSON the tag is part of the data; of a query the rows say it all.
      if (format !== 'json' && (rowsWritten === undefined || /^(INSERT|UPDATE|DELETE|MERGE)\b/.test(tag))) io.say(tag);
      rowsWritten = undefined;
    },
    async cut(rowsMax) {
      await writer.cut(rowsMax);
      record.addResult({ tag: undefined, rows: rowsWritten });
      rowsWritten = undefined;
      if (io.json) io.event({ event: 'rows-cut', text: number, rows: rowsMax });
      else io.warn(`the first ${rowsMax === 1 ? 'row' : `${rowsMax} rows`} only, as --max-rows asks; there are more, which were not read`);
    },
    ...(io.json && { held: (news) => io.event(news), released: (requestId) => io.event({ event: 'released', requestId }) }),
    notice: (text) => (io.json ? io.warn(text) : io.say(text)),
  };
}
