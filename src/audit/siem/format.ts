/** The formats in which entries leave for a SIEM, each one line per entry without its line feed. */
import { splitEvent } from '../seal.ts';
import { formatCef } from './cef.ts';
import type { SiemRecord } from './context.ts';
import { formatEcs } from './ecs.ts';
import { formatGcp } from './gcp.ts';
import { formatOcsf } from './ocsf.ts';

export const siemFormats = ['ndjson', 'ocsf', 'ecs', 'gcp', 'cef'] as const;
export type SiemFormat = (typeof siemFormats)[number];

/** What formatters give goes out to others: they read what an entry has in the open, and nothing that it has sealed. */
export function formatterOf(format: SiemFormat): (record: SiemRecord) => string {
  switch (format) {
    case 'ndjson':
      return formatNdjson;
    case 'ocsf':
      return formatOcsf;
    case 'ecs':
      return formatEcs;
    case 'gcp':
      return formatGcp;
    case 'cef':
      return formatCef;
  }
}

/** The entry as it stands in the record, with its place. */
export function formatNdjson({ index, relay, entry }: SiemRecord): string {
  const { v, session, seq, prev, time, event, sealed } = entry;
  const { closed: _closed, ...inEntry } = sealed ?? {};
  return JSON.stringify({ index, origin: relay, v, session, seq, prev, time, event: splitEvent(event).open, ...(sealed && { sealed: inEntry }) });
}
