/** The chain from a run to a person: what each platform's token proves, and that nothing a client tells ever becomes proof. */
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TokenClaims } from '../../src/dev/ci-tokens.ts';
import { humanBehind, linkKinds, type Link } from '../../src/principal/principal.ts';
import { principalOf, saidByCommit, type Told } from '../../src/workload/chain.ts';
import { parseCommit } from '../../src/workload/commit.ts';
import { writeString } from '../../src/workload/ssh-key.ts';
import { presetNames, type PresetName } from '../../src/workload/workload.ts';
import { claimsOf, oneOf } from './some.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const adaKey = `ssh-ed25519 ${keyBlob(publicKey).toString('base64')} ada`;
const people = (accounts = '') => `
people:
  ada: { subject: acct-ada, emails: [ada@acme.example], keys: ["${adaKey}"], ${accounts} }
  bob: { subject: acct-bob, emails: [Bob@acme.example] }`;

function keyBlob(key: KeyObject): Buffer {
  const raw = Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
  return Buffer.concat([writeString(Buffer.from('ssh-ed25519')), writeString(raw)]);
}

function commitOf(author: string, message: string, signer?: KeyObject): { object: Buffer; hash: string } {
  const plain = `tree ${'4'.repeat(40)}\nauthor ${author} 1777888999 +0200\ncommitter ${author} 1777888999 +0200\n\n${message}\n`;
  const object = signer === undefined ? plain : plain.replace('\n\n', `\ngpgsig ${signatureOf(plain, signer).replaceAll('\n', '\n ')}\n\n`);
  return { object: Buffer.from(object), hash: createHash('sha1').update(`commit ${Buffer.byteLength(object)}\0${object}`).digest('hex') };
}

function signatureOf(text: string, key: KeyObject): string {
  const digest = createHash('sha512').update(text).digest();
  const signed = Buffer.concat([Buffer.from('SSHSIG'), ...['git', '', 'sha512', digest].map((part) => writeString(Buffer.from(part)))]);
  const signature = Buffer.concat([writeString(Buffer.from('ssh-ed25519')), writeString(sign(null, signed, key))]);
  const parts = [keyBlob(publicKey), 'git', '', 'sha512', signature].map((part) => writeString(Buffer.from(part)));
  const base64 = Buffer.concat([Buffer.from('SSHSIG\0\0\0\x01'), ...parts]).toString('base64');
  return `-----BEGIN SSH SIGNATURE-----\n${base64}\n-----END SSH SIGNATURE-----`;
}

type Run = { preset?: PresetName; claims?: TokenClaims; told?: Partial<Told>; more?: string; accounts?: string };

function run({ preset = 'github-actions', claims = {}, told = {}, more = '', accounts = '' }: Run) {
  const one = oneOf(preset, more, people(accounts));
  return principalOf({ ...one, claims: claimsOf(preset, claims), told: { links: [], ...told } });
}
const linkOf = ({ chain = [] }: { chain?: readonly Link[] }, kind: Link['kind']) => chain.find((link) => link.kind === kind);
const short = ({ chain = [] }: { chain?: readonly Link[] }) => chain.map(({ kind, value, strength, source }) => `${kind}: ${value} (${strength}, ${source})`);

describe('what the tokens of each platform prove', () => {
  const sha = String(claimsOf('github-actions').get('sha'));
  const kube = claimsOf('kubernetes');
  const circle = claimsOf('circleci');
  const user = String(circle.get('sub')).split('/')[5];
  const cases: readonly [PresetName, readonly string[]][] = [
    ['github-actions', ['environment: production', 'run: run 16101844123 attempt 1', 'repository: acme/shop', 'ref: refs/heads/main', `commit: ${sha}`, 'actor: ada']],
    ['gitlab-ci', ['environment: production', 'run: job 302 of pipeline 574', 'repository: acme/shop', 'ref: refs/heads/main', `commit: ${sha}`, 'actor: ada']],
    ['google', ['environment: acme-prod/europe-west10-a/batch-1', 'actor: migrate@acme-prod.iam.gserviceaccount.com']],
    ['kubernetes', ['environment: namespace shop', 'run: pod migrate-29012345-x7k2p', 'actor: service account shop/migrate']],
    ['circleci', ['repository: github.com/acme/shop', 'ref: refs/heads/main', `actor: user ${user}`]],
    ['buildkite', ['run: acme/shop build 42', 'ref: refs/heads/main', `commit: ${sha}`]],
    ['terraform-cloud', ['environment: acme/shop-db', 'run: apply run-X3n1AUXNGWbfECsJ']],
    ['generic', []],
  ];
  test.each(cases)('%s', (preset, expected) => {
    expect(short(run({ preset }))).toEqual(['workload: migrate', ...expected].map((text) => `${text} (verified, token)`));
  });

  test.each<[PresetName, TokenClaims, readonly (string | undefined)[]]>([
    ['github-actions', {}, ['https://github.com/acme/shop/actions/runs/16101844123', 'https://github.com/acme/shop', `https://github.com/acme/shop/commit/${sha}`, 'https://github.com/ada']],
    ['github-actions', { repository: '../evil', actor: 'x y' }, [undefined, undefined, undefined, undefined]],
    ['gitlab-ci', {}, ['https://gitlab.com/acme/shop/-/jobs/302', 'https://gitlab.com/acme/shop', `https://gitlab.com/acme/shop/-/commit/${sha}`, 'https://gitlab.com/ada']],
    ['buildkite', {}, [`https://buildkite.com/acme/shop/builds/42#${String(claimsOf('buildkite').get('job_id'))}`, undefined, undefined, undefined]],
    ['circleci', {}, [undefined, 'https://github.com/acme/shop', undefined, undefined]],
    ['terraform-cloud', {}, ['https://app.terraform.io/app/acme/workspaces/shop-db/runs/run-X3n1AUXNGWbfECsJ', undefined, undefined, undefined]],
  ])('%s: pages of run, repository, commit and actor', (preset, claims, expected) => {
    const principal = run({ preset, claims });
    expect((['run', 'repository', 'commit', 'actor'] as const).map((kind) => linkOf(principal, kind)?.url)).toEqual(expected);
  });

  test.each([
    ['https://token.actions.githubusercontent.com/acme', 'https://github.com/acme/shop'],
    ['https://token.actions.acme.ghe.com', 'https://acme.ghe.com/acme/shop'],
    ['https://git.acme.example/_services/token', 'https://git.acme.example/acme/shop'],
  ])('GitHub at %s', (url, repository) => {
    const { issuer, ...rest } = oneOf('github-actions');
    expect(linkOf(principalOf({ ...rest, issuer: { ...issuer, url }, claims: claimsOf('github-actions'), told: { links: [] } }), 'repository')?.url).toBe(repository);
  });

  test('a principal is the same in each run, and another in another place', () => {
    const first = run({});
    expect(first).toMatchObject({ kind: 'workload', name: 'migrate', groups: ['ci'], issuer: 'https://token.actions.githubusercontent.com', subject: 'migrate:repository_owner_id=9001,repository_id=4711' });
    expect(run({ claims: { run_id: '2', run_attempt: '9', sha: 'b'.repeat(40), actor_id: '7', sub: 'other' } }).subject).toBe(first.subject);
    expect(run({ claims: { repository_id: '4712' } }).subject).not.toBe(first.subject);
    expect(run({ preset: 'generic', claims: { sub: 'a,repository_id=1' } }).subject).toBe('migrate:sub=a%2Crepository_id%3D1');
    expect(String(kube.get('kubernetes.io/serviceaccount/uid')).length).toBe(36);
  });
});

describe('the commit object', () => {
  const { object, hash } = commitOf('Ada <ada@acme.example>', 'Drop it\n\nReason: nobody reads it\nTicket: OPS-17');
  const patterns = 'reasonFrom: "Reason: (.*)", ticketFrom: "[A-Z]+-[0-9]+"';
  const said = (claims: TokenClaims, commit: Buffer, preset: PresetName = 'github-actions') => {
    const { issuer, workload } = oneOf(preset, patterns);
    return saidByCommit(workload, issuer, claimsOf(preset, claims), { links: [], commit });
  };

  test('of the token: the commit stays proven, its author is what the commit says', () => {
    const principal = run({ claims: { sha: hash }, told: { commit: object } });
    expect(linkOf(principal, 'commit')).toMatchObject({ id: hash, strength: 'verified', source: 'token' });
    expect(linkOf(principal, 'author')).toEqual({ kind: 'author', value: 'Ada <ada@acme.example>', strength: 'claimed', source: 'client' });
    expect(linkOf(principal, 'human')).toEqual({ kind: 'human', value: 'ada', id: 'acct-ada', strength: 'claimed', source: 'policy' });
    expect(said({ sha: hash }, object)).toEqual({ reason: 'nobody reads it', ticket: 'OPS-17' });
    expect(said({ sha: hash.toUpperCase() }, object)).toEqual({ reason: 'nobody reads it', ticket: 'OPS-17' });
  });

  test('of another hash than the token\'s: it counts for nothing', () => {
    const principal = run({ told: { commit: object } });
    expect([linkOf(principal, 'author'), linkOf(principal, 'human')]).toEqual([undefined, undefined]);
    expect(said({}, object)).toEqual({});
  });

  test('where the token names none: it is what the client says', () => {
    const principal = run({ preset: 'circleci', told: { commit: object, links: [{ kind: 'commit', value: 'f'.repeat(40) }] } });
    expect(linkOf(principal, 'commit')).toEqual({ kind: 'commit', value: hash, id: hash, strength: 'claimed', source: 'client' });
    expect(linkOf(principal, 'author')).toMatchObject({ strength: 'claimed' });
    expect(said({}, object, 'circleci')).toMatchObject({ ticket: 'OPS-17' });
  });

  test('a reason is one line, and not longer than one that is given by hand', () => {
    const long = commitOf('Ada <ada@acme.example>', `Reason: \u001b[31m${'x'.repeat(3000)}`);
    const { reason = '' } = said({ sha: long.hash }, long.object);
    expect(reason).not.toMatch(/\p{C}/u);
    expect(reason.length).toBe(1000);
    expect(parseCommit(long.object)?.hash).toBe(long.hash);
  });

  test('signed by a person of the policy: author and human are proven, if the token names this commit', () => {
    const signed = commitOf('Ada <ADA@acme.example>', 'm', privateKey);
    const proven = run({ claims: { sha: signed.hash }, told: { commit: signed.object } });
    expect(linkOf(proven, 'author')).toEqual({ kind: 'author', value: 'Ada <ADA@acme.example>', strength: 'verified', source: 'signature' });
    // The token names the account that started it, and that is nobody's: who has signed may be somebody else.
    expect(linkOf(proven, 'human')).toEqual({ kind: 'human', value: 'ada', id: 'acct-ada', strength: 'claimed', source: 'policy' });
    const alone = run({ claims: { sha: signed.hash, actor: undefined, actor_id: undefined }, told: { commit: signed.object } });
    expect(linkOf(alone, 'human')).toEqual({ kind: 'human', value: 'ada', id: 'acct-ada', strength: 'verified', source: 'signature' });
    const unproven = run({ preset: 'circleci', told: { commit: signed.object } });
    expect(['author', 'human'].map((kind) => linkOf(unproven, kind as Link['kind'])?.strength)).toEqual(['claimed', 'claimed']);
  });

  test('a signature does not prove an author that is somebody else than the signer', () => {
    const signed = commitOf('Bob <bob@acme.example>', 'm', privateKey);
    const principal = run({ claims: { sha: signed.hash }, told: { commit: signed.object } });
    expect(linkOf(principal, 'author')).toMatchObject({ value: 'Bob <bob@acme.example>', strength: 'claimed' });
    expect(linkOf(principal, 'human')).toMatchObject({ id: 'acct-ada', strength: 'claimed' });
  });

  test('one large signature and thousands of people do not keep the relay busy', () => {
    // Thousands of empty strings, where two should be.
    const parts = [keyBlob(publicKey), 'git', '', 'sha512', Buffer.alloc(32_000)].map((part) => writeString(Buffer.from(part)));
    const base64 = Buffer.concat([Buffer.from('SSHSIG\0\0\0\x01'), ...parts]).toString('base64');
    const ident = 'Ada <ada@acme.example> 1 +0000';
    const commit = Buffer.from(`tree ${'4'.repeat(40)}\nauthor ${ident}\ncommitter ${ident}\ngpgsig -----BEGIN SSH SIGNATURE-----\n ${base64}\n -----END SSH SIGNATURE-----\n\nm\n`);
    const one = oneOf('generic', '', people());
    const crowd = Array.from({ length: 3000 }, (_, index) => {
      const key = Buffer.concat([writeString(Buffer.from('ssh-ed25519')), writeString(createHash('sha256').update(String(index)).digest())]);
      return { name: `p${index}`, subject: `s${index}`, accounts: new Map(), emails: [], keys: [`ssh-ed25519 ${key.toString('base64')}`] };
    });
    const machines = { ...one.machines, people: new Map(crowd.map((person) => [person.name, person])) };
    const claims = claimsOf('generic', { sha: parseCommit(commit)?.hash ?? '' });
    const before = performance.now();
    principalOf({ ...one, machines, claims, told: { links: [], commit } });
    expect(performance.now() - before).toBeLessThan(1000);
  });

  test('signed with a key of nobody in the policy', () => {
    const stranger = commitOf('Ada <ada@acme.example>', 'm', generateKeyPairSync('ed25519').privateKey);
    const principal = run({ claims: { sha: stranger.hash }, told: { commit: stranger.object } });
    expect([linkOf(principal, 'author')?.strength, linkOf(principal, 'human')?.strength]).toEqual(['claimed', 'claimed']);
  });
});

describe('the person', () => {
  const user = String(claimsOf('circleci').get('sub')).split('/')[5];
  test.each<[PresetName, string]>([['github-actions', '1815'], ['gitlab-ci', '1815'], ['circleci', `"${user}"`], ['generic', 'u-1']])('behind the account of %s', (preset, id) => {
    const principal = run({ preset, accounts: `accounts: { ci: ${id} }`, claims: preset === 'generic' ? { actor_id: 'u-1' } : {} });
    expect(linkOf(principal, 'human')).toEqual({ kind: 'human', value: 'ada', id: 'acct-ada', strength: 'verified', source: 'policy' });
  });

  test('who started it comes before who wrote it', () => {
    const { object, hash } = commitOf('Bob <bob@acme.example>', 'm');
    const principal = run({ accounts: 'accounts: { ci: 1815 }', claims: { sha: hash }, told: { commit: object } });
    expect(linkOf(principal, 'human')).toMatchObject({ id: 'acct-ada', strength: 'verified' });
    expect(linkOf(principal, 'author')).toMatchObject({ value: 'Bob <bob@acme.example>' });
  });

  test('a name in place of the id leads nowhere', () => {
    expect(linkOf(run({ accounts: 'accounts: { ci: 1815 }', claims: { actor_id: '1816', actor: '1815' } }), 'human')).toBeUndefined();
  });

  test('the owner is the policy\'s word', () => {
    expect(linkOf(run({ more: 'owner: bob' }), 'owner')).toEqual({ kind: 'owner', value: 'bob', id: 'acct-bob', strength: 'verified', source: 'policy' });
  });
});

describe('what a client tells', () => {
  const text = fc.oneof(fc.string(), fc.constantFrom('1815', 'ada', 'acct-ada', 'acme/shop', 'refs/heads/main'), fc.string({ unit: 'binary' }));
  const link = fc.record({ kind: fc.constantFrom(...linkKinds), value: text, id: text, url: fc.oneof(text, fc.webUrl()) }, { requiredKeys: ['kind', 'value'] });
  const message = fc.string();
  const commit = fc.option(
    fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(fc.constantFrom('Ada <ada@acme.example>', 'Bob <bob@acme.example>'), message, fc.boolean()).map(([who, said, isSigned]) => commitOf(who, said, isSigned ? privateKey : undefined).object),
    ),
    { nil: undefined },
  );
  const told = fc.record({ links: fc.array(link, { maxLength: 12 }), commit }).map(({ links, commit: object }): Told => ({ links, ...(object && { commit: object }) }));

  test.each(presetNames)('%s: never becomes proof, never takes a proven link away, and never makes another principal', (preset) => {
    const one = oneOf(preset, 'owner: bob', people());
    const claims = claimsOf(preset);
    const alone = principalOf({ ...one, claims, told: { links: [] } });
    fc.assert(
      fc.property(told, (said) => {
        const principal = principalOf({ ...one, claims, told: said });
        const { chain = [] } = principal;
        expect(chain.filter(({ strength }) => strength === 'verified')).toEqual(alone.chain);
        expect({ ...principal, chain: undefined }).toEqual({ ...alone, chain: undefined });
        expect(chain.every(({ strength, source }) => strength === 'verified' || source === 'client' || source === 'policy')).toBe(true);
        expect(new Set(chain.map(({ kind }) => kind)).size).toBe(chain.length);
        expect(humanBehind(principal)?.strength).not.toBe('verified');
        for (const { value, id = '', url = 'https://x' } of chain) {
          expect([value, id].join('')).not.toMatch(/\p{C}/u);
          expect(Math.max(value.length, id.length)).toBeLessThanOrEqual(300);
          expect(url).toMatch(/^https?:\/\//);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('fills what the token does not say, and stands behind nothing that it does', () => {
    const links: Told['links'] = [
      { kind: 'run', value: 'job 9', id: '9', url: 'https://circleci.com/gh/acme/shop/9' },
      { kind: 'run', value: 'job 10' },
      { kind: 'repository', value: 'acme/other' },
      { kind: 'human', value: 'ada', id: 'acct-ada' },
      { kind: 'owner', value: 'ada', id: 'acct-ada' },
    ];
    const principal = run({ preset: 'circleci', told: { links } });
    expect(linkOf(principal, 'run')).toEqual({ kind: 'run', value: 'job 9', id: '9', url: 'https://circleci.com/gh/acme/shop/9', strength: 'claimed', source: 'client' });
    expect(linkOf(principal, 'repository')).toMatchObject({ value: 'github.com/acme/shop', strength: 'verified' });
    expect([linkOf(principal, 'human'), linkOf(principal, 'owner')]).toEqual([undefined, undefined]);
  });

  test.each(['javascript:alert(1)', 'https://user:pass@evil.example/', 'file:///etc/passwd', 'nonsense', `https://x.example/${'a'.repeat(1000)}`])('the address %s is left out', (url) => {
    const principal = run({ preset: 'generic', told: { links: [{ kind: 'run', value: 'r', url }] } });
    expect(linkOf(principal, 'run')).toEqual({ kind: 'run', value: 'r', strength: 'claimed', source: 'client' });
  });
});
