/** Git commit objects, as `git cat-file commit` prints them: who wrote it, what they said, and what a signature is over. */
import { createHash } from 'node:crypto';

export type Commit = {
  /** By the format of its repository: SHA-1, or SHA-256 where its tree is named by one. */
  readonly hash: string;
  readonly author: Ident;
  readonly committer: Ident;
  readonly message: string;
  /** Armoured, without what belongs to the header. */
  readonly signature?: string;
  /** The object without its signatures: what was signed. */
  readonly signed: Buffer;
};
type Ident = { readonly name: string; readonly email: string };

const signatureHeaders = { sha1: 'gpgsig', sha256: 'gpgsig-sha256' } as const;

/** Undefined for bytes that are no commit, or one that git itself would not write. */
export function parseCommit(object: Buffer): Commit | undefined {
  const end = object.indexOf('\n\n');
  // Git shows nothing behind a NUL, so nothing may stand there.
  if (end < 0 || object.includes(0)) return undefined;
  // One character per byte, so that the header can be cut and put together again.
  const headers = readHeaders(object.subarray(0, end).toString('latin1'));
  const [tree, ...rest] = headers;
  const format = /^tree (?:([0-9a-f]{40})|[0-9a-f]{64})$/.exec(tree?.text ?? '');
  if (format === null) return undefined;
  const algorithm = format[1] === undefined ? 'sha256' : 'sha1';
  const afterParents = rest.slice(rest.findIndex(({ name }) => name !== 'parent'));
  const author = parseIdent(afterParents[0], 'author');
  const committer = parseIdent(afterParents[1], 'committer');
  const extra = afterParents.slice(2);
  if (author === undefined || committer === undefined || extra.some(({ name }) => coreNames.has(name))) return undefined;
  const signatures = extra.filter(({ name }) => name === signatureHeaders[algorithm]);
  if (signatures.length > 1) return undefined;
  const kept = headers.filter(({ name }) => !Object.values(signatureHeaders).some((one) => one === name));
  const encoding = extra.find(({ name }) => name === 'encoding')?.text.slice('encoding '.length) ?? 'utf-8';
  const [signature] = signatures;
  return {
    hash: createHash(algorithm).update(`commit ${object.length}\0`).update(object).digest('hex'),
    author,
    committer,
    message: object.subarray(end + 2).toString(/^(?:iso-?8859-1|latin-?1)$/i.test(encoding) ? 'latin1' : 'utf8'),
    ...(signature && { signature: signature.text.slice(signature.name.length + 1).replaceAll('\n ', '\n') }),
    signed: Buffer.concat([Buffer.from(kept.map(({ text }) => text).join('\n'), 'latin1'), object.subarray(end)]),
  };
}

const coreNames = new Set(['tree', 'parent', 'author', 'committer']);

type Header = { readonly name: string; readonly text: string };

/** Lines that begin with a space belong to the header before them. */
function readHeaders(text: string): Header[] {
  return text.split(/\n(?! )/).map((header) => ({ name: header.split(' ', 1)[0] ?? '', text: header }));
}

function parseIdent(header: Header | undefined, name: string): Ident | undefined {
  if (header?.name !== name) return undefined;
  const parts = /^\w+ ([^<>\n]*)<([^<>\n]*)> \d{1,15} [+-]\d{4}$/.exec(header.text);
  if (parts === null) return undefined;
  const [, person = '', email = ''] = parts.map((part) => Buffer.from(part, 'latin1').toString('utf8').trim());
  return { name: person, email };
}
