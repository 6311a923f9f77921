/** From a workload to a person, link by link: what a token or a signature proves apart from what a client only says. */
import type { Link, Principal } from '../principal/principal.ts';
import { parseCommit, type Commit } from './commit.ts';
import { signingKeyOf } from './commit-signature.ts';
import { oneLine, wellFormed } from './one-line.ts';
import { accountOf, commitOf, linksOf } from './platform-links.ts';
import { presetOf } from './presets.ts';
import type { Claims, Person, TrustedIssuer, Workload, Workloads } from './workload.ts';

/** What a client says of its run, and the commit object that it shows. */
export type Told = { readonly links: readonly Pick<Link, 'kind' | 'value' | 'id' | 'url'>[]; readonly commit?: Buffer };

const order: readonly Link['kind'][] = ['workload', 'environment', 'run', 'repository', 'ref', 'commit', 'actor', 'author', 'owner', 'human'];
/** What a client may say at all. */
const tellable: ReadonlySet<Link['kind']> = new Set(['environment', 'run', 'repository', 'ref', 'commit', 'actor']);
const urlLengthMax = 1000;
const reasonLengthMax = 1000;
const ticketLengthMax = 200;

export function principalOf(input: { machines: Workloads; issuer: TrustedIssuer; workload: Workload; claims: Claims; told: Told }): Principal {
  const { machines, issuer, workload, claims, told } = input;
  const subject = subjectOf(issuer, workload, claims);
  const shown = shownCommit(issuer, claims, told);
  const signer = shown?.isOfToken === true ? signerOf(shown.commit, machines) : undefined;
  // The first of a kind counts, so what is proven stands before what a client says.
  const links: readonly (Link | undefined)[] = [
    { kind: 'workload', value: workload.name, id: subject, strength: 'verified', source: 'token' },
    ...linksOf(issuer, claims).map((facts) => ({ ...facts, strength: 'verified', source: 'token' }) as const),
    ownerLink(machines, workload),
    shown && authorLink(shown.commit, signer),
    humanLink(input, shown?.commit, signer),
    ...claimedLinks(told, shown?.commit),
  ];
  return {
    issuer: issuer.url,
    subject,
    kind: 'workload',
    name: workload.name,
    groups: workload.groups,
    chain: order.flatMap((kind) => {
      const link = links.find((one) => one?.kind === kind);
      const clean = link && cleanLink(link);
      return clean ? [clean] : [];
    }),
  };
}

/** Reason and ticket out of the message of the commit: the token's own where the token names one. */
export function saidByCommit(workload: Workload, issuer: TrustedIssuer, claims: Claims, told: Told): { reason?: string; ticket?: string } {
  const message = shownCommit(issuer, claims, told)?.commit.message;
  if (message === undefined) return {};
  const found = (finder: Workload['reasonFrom'], lengthMax: number) => {
    const text = finder?.find(message);
    return text === undefined ? undefined : oneLine(text, lengthMax);
  };
  const reason = found(workload.reasonFrom, reasonLengthMax);
  const ticket = found(workload.ticketFrom, ticketLengthMax);
  return { ...(reason !== undefined && { reason }), ...(ticket !== undefined && { ticket }) };
}

/** The same for each run of the workload in the same place, and no two places have the same. */
function subjectOf(issuer: TrustedIssuer, workload: Workload, claims: Claims): string {
  const parts = presetOf(issuer).identity.map((name) => {
    const value = claims.get(name);
    const text = typeof value === 'string' ? value : JSON.stringify(value ?? null);
    return `${name}=${wellFormed(text).replace(/[%,=\s\p{C}]/gu, encodeURIComponent)}`;
  });
  return `${workload.name}:${parts.join(',')}`;
}

type Shown = { readonly commit: Commit; readonly isOfToken: boolean };

/** The commit object, unless the token names another one. */
function shownCommit(issuer: TrustedIssuer, claims: Claims, told: Told): Shown | undefined {
  const commit = told.commit === undefined ? undefined : parseCommit(told.commit);
  if (commit === undefined) return undefined;
  const named = commitOf(issuer.preset, claims);
  if (named !== undefined && named !== commit.hash) return undefined;
  return { commit, isOfToken: named !== undefined };
}

function signerOf(commit: Commit, { people }: Workloads): Person | undefined {
  if (commit.signature === undefined) return undefined;
  const all = [...people.values()];
  // Of all keys at once: the signature is read once, however many people there are.
  const key = signingKeyOf(commit, all.flatMap(({ keys }) => keys));
  return key === undefined ? undefined : all.find(({ keys }) => keys.includes(key));
}

function claimedLinks(told: Told, commit: Commit | undefined): Link[] {
  const computed: Told['links'] = commit === undefined ? [] : [{ kind: 'commit', value: commit.hash, id: commit.hash }];
  return [...computed, ...told.links]
    .filter(({ kind }) => tellable.has(kind))
    .map(({ kind, value, id, url }) => ({ kind, value, ...(id !== undefined && { id }), ...(url !== undefined && { url }), strength: 'claimed', source: 'client' }));
}

/** A signature proves who signed. It proves the author only where the author's address is one of the signer's. */
function authorLink({ author }: Commit, signer: Person | undefined): Link {
  const value = author.name === '' ? `<${author.email}>` : `${author.name} <${author.email}>`;
  if (signer !== undefined && hasEmail(signer, author.email)) return { kind: 'author', value, strength: 'verified', source: 'signature' };
  return { kind: 'author', value, strength: 'claimed', source: 'client' };
}

function ownerLink({ people }: Workloads, { owner }: Workload): Link | undefined {
  const person = owner === undefined ? undefined : people.get(owner);
  return person && { kind: 'owner', value: person.name, id: person.subject, strength: 'verified', source: 'policy' };
}

/** Whoever started the run, by the account that the token names; else who signed the commit; else whose address its author gives. */
function humanLink({ machines, issuer, claims }: { machines: Workloads; issuer: TrustedIssuer; claims: Claims }, commit: Commit | undefined, signer: Person | undefined): Link | undefined {
  const people = [...machines.people.values()];
  const account = accountOf(issuer.preset, claims);
  const starter = account === undefined ? undefined : people.find(({ accounts }) => accounts.get(issuer.name)?.includes(account) === true);
  // Whoever starts a run can take a commit that another has signed: that counts only where the token says nobody who started it.
  const proven = starter ?? (account === undefined ? signer : undefined);
  if (proven !== undefined) return { kind: 'human', value: proven.name, id: proven.subject, strength: 'verified', source: starter === undefined ? 'signature' : 'policy' };
  const named = signer ?? (commit && people.find((person) => hasEmail(person, commit.author.email)));
  return named && { kind: 'human', value: named.name, id: named.subject, strength: 'claimed', source: 'policy' };
}

function hasEmail({ emails }: Person, email: string): boolean {
  return email !== '' && emails.some((one) => one.toLowerCase() === email.toLowerCase());
}

function cleanLink({ kind, value, id, url, strength, source }: Link): Link | undefined {
  const shown = oneLine(value);
  if (shown === undefined) return undefined;
  // What people behind a link are looked up by is the policy's own and stays as it is.
  const cleanId = id === undefined || source === 'policy' || kind === 'human' || kind === 'workload' ? id : oneLine(id);
  const address = url === undefined ? undefined : webAddress(url);
  return { kind, value: shown, ...(cleanId !== undefined && { id: cleanId }), ...(address !== undefined && { url: address }), strength, source };
}

function webAddress(text: string): string | undefined {
  if (text.length > urlLengthMax || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isPlain = (url.protocol === 'https:' || url.protocol === 'http:') && url.username === '' && url.password === '';
  return isPlain && url.href.length <= urlLengthMax ? url.href : undefined;
}
