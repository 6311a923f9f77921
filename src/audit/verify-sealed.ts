/** Holds the sealed contents that a bundle carries against what its entries say that they have sealed. Pure. */
import { hash } from 'node:crypto';
import type { Findings } from './verify-report.ts';
import type { SealedPromise, SessionsReview } from './verify-sessions.ts';
import { decodeBase64, type Source, type SourceLine } from './verify-source.ts';

/** By session, in the order of its chain. */
export type SealedPromises = ReadonlyMap<string, readonly SealedPromise[]>;

export type SealedCheck = { readonly source: Source; readonly findings: Findings; readonly review: SessionsReview; readonly promises: SealedPromises };

export async function checkSealed(check: SealedCheck): Promise<void> {
  const { source, findings, review, promises } = check;
  const files = new Set<string>();
  for (const { name, isDirectory } of await source.list('sealed')) {
    const session = /^([\w-]{1,100})\.ndl$/.exec(name)?.[1];
    const path = `sealed/${name}`;
    if (isDirectory || session === undefined || !promises.has(session)) {
      findings.add(review.unclaimed, 'sealed-unowned', `${path} belongs to no session that has sealed anything`, { file: path });
    } else files.add(session);
  }
  for (const [session, own] of promises) {
    const found = files.has(session) ? await checkFile(check, session, own) : new Set<number>();
    for (const [place, promise] of own.entries()) if (!found.has(place)) reportMissing(check, promise, session);
  }
}

/** Answers the places of the promises that the file keeps. */
async function checkFile({ source, findings, review }: SealedCheck, session: string, promises: readonly SealedPromise[]): Promise<Set<number>> {
  const path = `sealed/${session}.ndl`;
  const places = new Map(promises.map(({ sha256 }, place) => [sha256, place]));
  const found = new Set<number>();
  let last = -1;
  let number = 0;
  for await (const line of source.lines(path)) {
    number++;
    const where = `${path}, line ${number},`;
    const content = contentOf(line);
    const place = content && places.get(content.sha256);
    const promise = place === undefined ? undefined : promises[place];
    if (content === undefined || place === undefined || promise === undefined) {
      const isWell = content !== undefined && hash('sha256', content.data, 'hex') === content.sha256;
      findings.add(isWell ? review.unclaimed : 'tampered', 'sealed-changed', `${where} is not what an entry of ${session} has sealed`, { session, file: path });
      continue;
    }
    const at = { session, seq: promise.seq, index: promise.index, file: path };
    if (hash('sha256', content.data, 'hex') !== promise.sha256 || content.data.length !== promise.bytes) {
      findings.tampered('sealed-changed', `${where} was changed: it is not what entry ${promise.index} has sealed`, at);
    } else if (place <= last) {
      findings.tampered('sealed-moved', `${where} is out of order: it belongs to entry ${promise.index}`, at);
    }
    found.add(place);
    last = Math.max(last, place);
  }
  return found;
}

/** Undefined for a line of any other spelling. */
function contentOf({ bytes, isWhole }: SourceLine): { sha256: string; data: Buffer } | undefined {
  const [, sha256 = '', base64 = ''] = /^\{"sha256":"([0-9a-f]{64})","data":"([A-Za-z0-9+/=]*)"\}$/.exec(isWhole ? bytes.toString('latin1') : '') ?? [];
  const data = sha256 === '' ? undefined : decodeBase64(base64);
  return data && { sha256, data };
}

export function reportMissing({ findings, review }: Pick<SealedCheck, 'findings' | 'review'>, promise: SealedPromise, session: string): void {
  const { index, seq } = promise;
  if (review.isShredded(promise)) findings.note(`entry ${index} (${session} #${seq}): what it has sealed was shredded`);
  else findings.incomplete('sealed-missing', `what entry ${index} (${session} #${seq}) has sealed is not here`, { index, session, seq });
}
