/** The words for certificates that do not hold, from real TLS servers. */
import { webcrypto } from 'node:crypto';
import { createServer } from 'node:https';
import * as x509 from '@peculiar/x509';
import { expect, test } from 'vitest';
import { describeNetworkFailure, isNetworkFailure } from '../../src/oidc/network-failure.ts';

async function failureFor(host: string, days: number): Promise<unknown> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name: `CN=${host}`,
      keys,
      signingAlgorithm: algorithm,
      notBefore: new Date(Date.now() - 86_400_000 * 10),
      notAfter: new Date(Date.now() + 86_400_000 * days),
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: host }])],
    },
    webcrypto,
  );
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const key = `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`;
  const server = createServer({ key, cert: certificate.toString('pem') }, (_, response) => response.end('ok'));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  try {
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    return await fetch(`https://localhost:${port}/`).then(
      () => undefined,
      (error: unknown) => error,
    );
  } finally {
    server.close();
  }
}

test('a certificate of nobody that this machine knows, with what to do about it', async () => {
  const error = await failureFor('localhost', 10);
  expect(isNetworkFailure(error)).toBe(true);
  expect(describeNetworkFailure(error)).toEqual({
    reason: 'its certificate is not signed by an authority that this machine knows',
    hint: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
  });
});

test.each([
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is for another host name'],
  ['CERT_HAS_EXPIRED', 'its certificate has expired'],
  ['SOMETHING_NEW', 'what the system said'],
])('%s deep inside is found and said in words', (code, reason) => {
  const root = Object.assign(new Error('what the system said'), { code });
  const error = new TypeError('fetch failed', { cause: new AggregateError([root, new Error('another')]) });
  expect(describeNetworkFailure(error)).toEqual({ reason });
});

test('an answer that is only wrong is no failure of the network', () => {
  expect(isNetworkFailure(new Error('unexpected answer', { cause: { status: 500 } }))).toBe(false);
  expect(isNetworkFailure(Object.assign(new Error('bad answer'), { code: 'OAUTH_INVALID_RESPONSE' }))).toBe(false);
});
