/** The local certificate authority: what its certificates say, that OpenSSL agrees, and how it is kept. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLocalIdentity } from '../../src/client/local-ca.ts';
import type { ClientConfig } from '../../src/client/config.ts';

let config: ClientConfig;
const hour = 3600_000;
const soon = () => new Date(Date.now() + hour);

beforeEach(async () => {
  config = { directory: await mkdtemp(join(tmpdir(), 'gate-ca-test-')), isKeychainWanted: false };
});
afterEach(() => rm(config.directory, { recursive: true, force: true }));

test('the CA is made once, its key is private, and each leaf is new and short-lived', async () => {
  const until = soon();
  const first = await createLocalIdentity(config, until);
  const second = await createLocalIdentity(config, until);
  expect(second.caFile).toBe(first.caFile);
  const ca = new X509Certificate(await readFile(first.caFile));
  const [leaf, other] = [new X509Certificate(first.cert), new X509Certificate(second.cert)];
  expect((await stat(join(config.directory, 'local-ca/ca.key'))).mode & 0o777).toBe(0o600);
  expect((await stat(join(config.directory, 'local-ca'))).mode & 0o777).toBe(0o700);
  expect(ca.ca).toBe(true);
  expect(ca.verify(ca.publicKey)).toBe(true);
  for (const certificate of [leaf, other]) {
    expect(certificate.ca).toBe(false);
    expect(certificate.verify(ca.publicKey)).toBe(true);
    expect(certificate.checkIssued(ca)).toBe(true);
    expect(certificate.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1');
    expect(Date.parse(certificate.validTo)).toBeLessThanOrEqual(until.getTime() + hour);
    expect(Date.parse(certificate.validTo)).toBeGreaterThan(until.getTime());
  }
  expect(leaf.serialNumber).not.toBe(other.serialNumber);
  expect(leaf.checkPrivateKey(createPrivateKey(first.key))).toBe(true);
  expect(leaf.checkPrivateKey(createPrivateKey(second.key))).toBe(false);
});

test.each(['localhost', '127.0.0.1'])('a client that trusts the CA alone is content with %s', async (host) => {
  const { key, cert, caFile } = await createLocalIdentity(config, soon());
  const server = createTlsServer({ key, cert }, (socket) => socket.end('hello'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const ca = await readFile(caFile);
  const heard = await new Promise<string>((resolve, reject) => {
    connectTls({ host, port, ca }).once('data', (bytes) => resolve(String(bytes))).once('error', reject);
  });
  expect(heard).toBe('hello');
  server.close();
});

test('one CA at a time, also when several gates start at once', async () => {
  const identities = await Promise.all(Array.from({ length: 8 }, () => createLocalIdentity(config, soon())));
  const ca = new X509Certificate(await readFile(identities[0]?.caFile as string));
  for (const { cert } of identities) expect(new X509Certificate(cert).verify(ca.publicKey)).toBe(true);
});

test('half a CA is made anew, and one that is about to expire as well', async () => {
  const { caFile } = await createLocalIdentity(config, soon());
  const first = await readFile(caFile, 'utf8');
  await rm(caFile);
  await createLocalIdentity(config, soon());
  const second = await readFile(caFile, 'utf8');
  expect(second).not.toBe(first);
  await createLocalIdentity(config, soon(), new Date(Date.now() + 3580 * 24 * hour));
  expect(await readFile(caFile, 'utf8')).toBe(second);
  await createLocalIdentity(config, soon(), new Date(Date.now() + 3600 * 24 * hour));
  expect(await readFile(caFile, 'utf8')).not.toBe(second);
});

test('a key that others can read, and files that do not belong together, are refused with a way out', async () => {
  const { caFile } = await createLocalIdentity(config, soon());
  const keyFile = join(config.directory, 'local-ca/ca.key');
  await chmod(keyFile, 0o640);
  await expect(createLocalIdentity(config, soon())).rejects.toMatchObject({ code: 'config-invalid', message: expect.stringContaining('open to other users') });
  await chmod(keyFile, 0o600);
  await writeFile(caFile, 'no certificate');
  await expect(createLocalIdentity(config, soon())).rejects.toMatchObject({ code: 'config-invalid', hint: expect.stringContaining('Remove') });
});

test('dates beyond 2049 are written so that they are read back', async () => {
  const until = new Date('2061-02-03T04:05:06Z');
  const { cert } = await createLocalIdentity(config, until);
  expect(Date.parse(new X509Certificate(cert).validTo)).toBe(until.getTime() + hour);
});
