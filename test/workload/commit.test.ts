/** Commits that a real git writes and real keys sign: read byte for byte, verified, and refused once anything is changed. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signingKeyOf } from '../../src/workload/commit-signature.ts';
import { parseCommit, type Commit } from '../../src/workload/commit.ts';
import { parseSshKey } from '../../src/workload/ssh-key.ts';

const directory = mkdtempSync(join(tmpdir(), 'gate-commit-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const environment = { ...process.env, HOME: directory, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', LC_ALL: 'C.UTF-8' };
const git = (repository: string, ...words: string[]) =>
  execFileSync('git', ['-C', join(directory, repository), '-c', 'user.name=Ada Lovelace', '-c', 'user.email=ada@acme.example', ...words], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
const objectOf = (repository: string, name = 'HEAD') => git(repository, 'cat-file', 'commit', name);
const hashOf = (repository: string, name = 'HEAD') => git(repository, 'rev-parse', name).toString().trim();

const keyTypes = [['ed25519', 'ed25519', '256'], ['p256', 'ecdsa', '256'], ['p384', 'ecdsa', '384'], ['rsa', 'rsa', '2048']] as const;
const publicKeys = new Map<string, string>();

function commitSigned(repository: string, key: string, message: string): Commit {
  git(repository, '-c', 'gpg.format=ssh', '-c', `user.signingkey=${join(directory, key)}`, 'commit', '-q', '--allow-empty', '-S', '-m', message);
  return parsed(objectOf(repository));
}

function parsed(object: Buffer): Commit {
  const commit = parseCommit(object);
  if (commit === undefined) throw new Error(`no commit: ${object.toString('latin1')}`);
  return commit;
}

beforeAll(() => {
  for (const [name, type, bits] of keyTypes) {
    execFileSync('ssh-keygen', ['-q', '-t', type, '-b', bits, '-N', '', '-C', `${name} of ada`, '-f', join(directory, name)]);
    publicKeys.set(name, readFileSync(join(directory, `${name}.pub`), 'utf8').trim());
  }
  for (const format of ['sha1', 'sha256']) execFileSync('git', ['init', '-q', '-b', 'main', `--object-format=${format}`, join(directory, format)], { env: environment });
});

describe.each(['sha1', 'sha256'])('a repository of %s', (format) => {
  test('its commits have the hash that git says, and say who and what', () => {
    git(format, 'commit', '-q', '--allow-empty', '--author=Grace Hopper <grace@acme.example>', '-m', 'Drop the column\n\nNobody reads it. OPS-17');
    const commit = parsed(objectOf(format));
    expect(commit).toMatchObject({
      hash: hashOf(format),
      author: { name: 'Grace Hopper', email: 'grace@acme.example' },
      committer: { name: 'Ada Lovelace', email: 'ada@acme.example' },
      message: 'Drop the column\n\nNobody reads it. OPS-17\n',
    });
    expect(commit.signature).toBeUndefined();
    expect(commit.signed).toEqual(objectOf(format));
  });

  test.each(keyTypes)('a signature with %s verifies against its key and no other', (name) => {
    const commit = commitSigned(format, name, `signed with ${name}`);
    expect(commit.hash).toBe(hashOf(format));
    const own = publicKeys.get(name) ?? '';
    const others = [...publicKeys.values()].filter((key) => key !== own);
    expect(signingKeyOf(commit, [...others, own])).toBe(own);
    expect(signingKeyOf(commit, others)).toBeUndefined();
  });
});

test('merges, names of many kinds, and messages in latin1', () => {
  git('sha1', 'checkout', '-q', '-b', 'side');
  git('sha1', 'commit', '-q', '--allow-empty', '--author=Zoë Ω <zoe@acme.example>', '-m', 'über');
  git('sha1', 'checkout', '-q', 'main');
  git('sha1', 'commit', '-q', '--allow-empty', '-m', 'main goes on');
  git('sha1', '-c', 'gpg.format=ssh', '-c', `user.signingkey=${join(directory, 'ed25519')}`, 'merge', '-q', '-S', '--no-ff', '-m', 'both', 'side');
  const merge = parsed(objectOf('sha1'));
  expect([merge.hash, signingKeyOf(merge, [...publicKeys.values()])]).toEqual([hashOf('sha1'), publicKeys.get('ed25519')]);
  expect(parsed(objectOf('sha1', 'side'))).toMatchObject({ author: { name: 'Zoë Ω' }, message: 'über\n' });
  writeFileSync(join(directory, 'latin1.txt'), Buffer.from('für alle\n', 'latin1'));
  git('sha1', '-c', 'i18n.commitEncoding=ISO-8859-1', 'commit', '-q', '--allow-empty', '-F', join(directory, 'latin1.txt'));
  expect(parsed(objectOf('sha1')).message).toBe('für alle\n');
});

describe('tampering', () => {
  let object: Buffer;
  beforeAll(() => {
    commitSigned('sha1', 'ed25519', 'the real one');
    object = objectOf('sha1');
  });
  const verifies = (bytes: Buffer) => {
    const commit = parseCommit(bytes);
    return commit !== undefined && signingKeyOf(commit, [...publicKeys.values()]) !== undefined;
  };
  const changed = (from: string, to: string) => Buffer.from(object.toString('latin1').replace(from, to), 'latin1');

  test('the untouched object verifies', () => expect(verifies(object)).toBe(true));

  test.each([
    ['the author', 'author Ada', 'author Eve'],
    ['the committer', 'committer Ada', 'committer Eve'],
    ['the message', 'the real one', 'another one'],
    ['the tree', 'tree 4b', 'tree 4c'],
    ['a header more', '\n\nthe', '\nextra header\n\nthe'],
  ])('%s', (_name, from, to) => {
    expect(object.includes(from)).toBe(true);
    expect(verifies(changed(from, to))).toBe(false);
  });

  test('no changed byte outside of the armour is taken for the same commit', () => {
    const start = object.indexOf('gpgsig');
    const end = object.indexOf('END SSH SIGNATURE');
    fc.assert(
      fc.property(fc.nat(object.length - 1), fc.integer({ min: 1, max: 255 }), (at, bits) => {
        fc.pre(at < start || at > end + 'END SSH SIGNATURE-----'.length);
        const bytes = Buffer.from(object);
        bytes[at] = (bytes[at] ?? 0) ^ bits;
        expect(verifies(bytes)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  test('a changed byte of the signature is never another key', () => {
    const start = object.indexOf('gpgsig');
    const end = object.indexOf('END SSH SIGNATURE');
    fc.assert(
      fc.property(fc.integer({ min: start, max: end }), fc.integer({ min: 1, max: 255 }), (at, bits) => {
        const bytes = Buffer.from(object);
        bytes[at] = (bytes[at] ?? 0) ^ bits;
        const commit = parseCommit(bytes);
        const key = commit && signingKeyOf(commit, [...publicKeys.values()]);
        // Bits of base64 that stand for nothing may change; what was signed may not.
        if (key !== undefined) expect([key, commit?.message]).toEqual([publicKeys.get('ed25519'), 'the real one\n']);
      }),
      { numRuns: 200 },
    );
  });

  test('a signature of a file, not of a commit, is none', () => {
    const payload = join(directory, 'payload');
    const { signed } = parsed(object);
    writeFileSync(payload, signed);
    execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'file', '-f', join(directory, 'ed25519'), payload], { stdio: 'ignore' });
    const armour = readFileSync(`${payload}.sig`, 'latin1').trimEnd().replaceAll('\n', '\n ');
    const text = signed.toString('latin1');
    const forged = Buffer.from(text.replace('\n\n', `\ngpgsig ${armour}\n\n`), 'latin1');
    expect(parsed(forged).signed).toEqual(signed);
    expect(verifies(forged)).toBe(false);
  });
});

describe('what is no commit', () => {
  const hash = 'a'.repeat(40);
  const who = 'A <a@x> 1 +0000';
  const valid = `tree ${hash}\nauthor ${who}\ncommitter ${who}\n\nm`;
  test('the least that is one', () => expect(parseCommit(Buffer.from(valid))).toBeDefined());
  test.each([
    ['nothing', ''],
    ['a text', 'hello\n\nworld'],
    ['no message', valid.replace('\n\nm', '')],
    ['a short tree', valid.replace(hash, 'a'.repeat(39))],
    ['two trees', valid.replace('author', `tree ${hash}\nauthor`)],
    ['two authors', valid.replace('committer', `author ${who}\ncommitter`)],
    ['an author behind the committer', valid.replace('\n\nm', `\nauthor ${who}\n\nm`)],
    ['no author', valid.replace(`author ${who}\n`, '')],
    ['two signatures', valid.replace('\n\nm', '\ngpgsig a\ngpgsig b\n\nm')],
    ['an author over two lines', valid.replace('author A', 'author A\n B')],
    ['an author without an address', valid.replace('author A <a@x>', 'author A')],
    ['a NUL', `${valid}\0hidden`],
    ['only parents', `tree ${hash}\nparent ${hash}\nparent ${hash}\n\nm`],
  ])('%s', (_name, text) => expect(parseCommit(Buffer.from(text))).toBeUndefined());

  test('garbage neither throws nor is a signature', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const armour = `-----BEGIN SSH SIGNATURE-----\n${Buffer.concat([Buffer.from('SSHSIG\0\0\0\x01'), Buffer.from(bytes)]).toString('base64')}\n-----END SSH SIGNATURE-----`;
        const commit = { ...parsed(Buffer.from(valid)), signature: armour };
        expect(signingKeyOf(commit, [...publicKeys.values(), Buffer.from(bytes).toString('latin1')])).toBeUndefined();
        expect(parseCommit(Buffer.from(bytes))).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});

test('keys: those of ssh-keygen are read, everything else is not', () => {
  for (const key of publicKeys.values()) expect(parseSshKey(key)?.type).toBe(key.split(' ')[0]);
  const ed25519 = publicKeys.get('ed25519') ?? '';
  const short = join(directory, 'short');
  execFileSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '1024', '-N', '', '-f', short]);
  for (const line of [
    '',
    'ssh-ed25519',
    ed25519.replace('ssh-ed25519', 'ssh-rsa'),
    `no-pty ${ed25519}`,
    `${ed25519}\n${ed25519}`,
    ed25519.slice(0, 40),
    readFileSync(join(directory, 'ed25519'), 'utf8'),
    readFileSync(`${short}.pub`, 'utf8'),
  ]) {
    expect(parseSshKey(line), line).toBeUndefined();
  }
});
