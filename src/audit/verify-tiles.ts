/** Holds every tile and bundle on disk against the leaves that are known to be true, also those that no checkpoint needs. Pure. */
import type { StoredEntry } from './line.ts';
import { hashBytes, tilePath, tileWidth } from './tiles.ts';
import { leafHash } from './tree.ts';
import { differences, type Difference } from './verify-align.ts';
import type { Findings, Place } from './verify-report.ts';
import type { Source } from './verify-source.ts';
import { levelsAbove, readHashTiles, splitBundle, type LeafTiles, type TileListing } from './verify-tree.ts';

export type TileCheck = {
  readonly source: Source;
  readonly findings: Findings;
  readonly listing: TileListing;
  readonly size: number;
  /** The leaves that lead to the signed root. */
  readonly truth: LeafTiles;
};

/** Hash tiles of every level; `leaves` are those of level 0 as they were read. */
export async function checkHashTiles(check: TileCheck, leaves: LeafTiles): Promise<void> {
  reportTiles(check.findings, 0, check.truth, leaves);
  for (const [place, expected] of levelsAbove(check.truth).entries()) {
    const level = place + 1;
    const nodes = Math.floor(check.size / tileWidth ** level);
    reportTiles(check.findings, level, expected, await readHashTiles(check, level, nodes));
  }
}

function reportTiles(findings: Findings, level: number, expected: LeafTiles, found: LeafTiles): void {
  for (const [index, tile] of expected.entries()) {
    const other = found[index];
    if (tile === undefined || other === undefined || tile.equals(other)) continue;
    let at = 0;
    while (at < other.length && tile.subarray(at, at + hashBytes).equals(other.subarray(at, at + hashBytes))) at += hashBytes;
    const file = tilePath({ level, index, width: tile.length / hashBytes });
    findings.tampered('tile-changed', `${file} does not hold the hashes that lead to the signed root, from its hash ${at / hashBytes} on`, { file });
  }
}

/** What was read of an entry, for the words of a finding; parsing it may fail. */
export type EntryWords = (at: number) => Pick<StoredEntry, 'session' | 'seq'> | undefined;

/** Says which entries of a list of leaf hashes are not those of the tree. */
export function reportEntries(findings: Findings, where: string, lists: { truth: Buffer; found: Buffer }, words: EntryWords): void {
  for (const difference of differences(lists.truth, lists.found)) {
    const named = difference.kind === 'missing' ? undefined : words(difference.at);
    const place: Place = { index: difference.index, file: where, ...(named && { session: named.session, seq: named.seq }) };
    findings.tampered(`entry-${difference.kind}`, `${where}: ${sentenceOf(difference, named ? ` (${named.session} #${named.seq})` : '')}`, place);
  }
}

function sentenceOf({ kind, index, at }: Difference, name: string): string {
  switch (kind) {
    case 'changed':
      return `entry ${index}${name} was changed`;
    case 'missing':
      return `entry ${index} is missing`;
    case 'added':
      return index === at ? `an entry at ${at}${name} was added` : `entry ${index}${name} stands there again, at ${at}`;
    case 'moved':
      return `entry ${index}${name} was moved to ${at}`;
  }
}

/** Tiles beside those of the checkpoint: older partial ones must be beginnings, later ones are not covered yet. */
export async function checkOtherTiles(check: TileCheck): Promise<void> {
  const levels: LeafTiles[] = [check.truth, ...levelsAbove(check.truth)];
  for (const [path, id] of check.listing) {
    const nodes = id.level === 'entries' ? check.size : Math.floor(check.size / tileWidth ** id.level);
    const width = Math.max(0, Math.min(tileWidth, nodes - id.index * tileWidth));
    if (id.width === width) continue;
    const bytes = await check.source.read(path, 256 * 65_537);
    if (typeof bytes === 'string') continue;
    const expected = levels[id.level === 'entries' ? 0 : id.level]?.[id.index] ?? Buffer.alloc(0);
    const hashes = id.level === 'entries' ? bundleHashes(bytes) : bytes;
    const shared = Math.min(id.width, width) * hashBytes;
    const isWhole = hashes !== undefined && hashes.length === id.width * hashBytes;
    if (!isWhole || !hashes.subarray(0, shared).equals(expected.subarray(0, shared))) {
      check.findings.tampered('tile-changed', `${path} is not a part of this tree`, { file: path });
    } else if (id.width > width) {
      check.findings.incomplete('tile-uncovered', `${path} is not covered by the checkpoint`, { file: path });
    }
  }
}

function bundleHashes(bytes: Buffer): Buffer | undefined {
  const { entries, rest } = splitBundle(bytes, Infinity);
  return rest === 0 ? Buffer.concat(entries.map(leafHash)) : undefined;
}

