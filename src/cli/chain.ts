/** A chain from a machine to a person as lines for a terminal: what each link says, and how sure it is. */
import { describeLink, strengthOf } from '../principal/behind.ts';
import type { Link } from '../principal/principal.ts';
import { displayWidth, oneLine, shorten } from './output.ts';

/** What is longer is cut, so that nobody pushes out of sight how sure it is. The whole stands under --json. */
const partWidthMax = 80;
const urlWidthMax = 160;

/** One line per link in columns: kind, how sure it is and who says so, value with id and address. Safe to print. */
export function formatChain(chain: readonly Link[]): string[] {
  const rows = chain.map((link) => [oneLine(link.kind), strengthOf(link), describeLink(shortLink(link))] as const);
  const width = (column: 0 | 1) => Math.max(...rows.map((row) => displayWidth(row[column])));
  const pad = (text: string, to: number) => text + ' '.repeat(to - displayWidth(text));
  return rows.map(([kind, strength, value]) => `${pad(kind, width(0))}  ${pad(strength, width(1))}  ${value}`);
}

function shortLink({ value, id, url, ...link }: Link): Link {
  return {
    ...link,
    value: shorten(oneLine(value), partWidthMax),
    ...(id !== undefined && { id: shorten(oneLine(id), partWidthMax) }),
    ...(url !== undefined && { url: shorten(oneLine(url), urlWidthMax) }),
  };
}
