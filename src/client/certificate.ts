/** X.509 certificates for the local port, written as DER (RFC 5280, X.690): a small CA, and leaves for this machine. */
import { createHash, createPublicKey, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIPv6 } from 'node:net';

export type CertificateRequest = {
  /** Of the subject; an EC key. */
  readonly publicKey: KeyObject;
  readonly commonName: string;
  readonly issuer: { readonly commonName: string; readonly privateKey: KeyObject };
  readonly notBefore: Date;
  readonly notAfter: Date;
};

const tags = { boolean: 0x01, integer: 0x02, bits: 0x03, octets: 0x04, oid: 0x06, utf8: 0x0c, sequence: 0x30, set: 0x31 } as const;
const utcTimeTag = 0x17;
const generalizedTimeTag = 0x18;

const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const dnsName = 'localhost';

/** A CA whose certificates hold for this machine's own names alone, wherever it may be trusted by mistake. PEM. */
export function createCaCertificate(request: CertificateRequest): string {
  // Bits keyCertSign and cRLSign.
  const usage = der(tags.bits, Buffer.from([1, 0x06]));
  const constraints = sequence(
    der(0xa0, ...[der(0x82, Buffer.from(dnsName)), der(0x87, networkOf('127.0.0.0', 8)), der(0x87, networkOf('::1', 128))].map((name) => sequence(name))),
  );
  return createCertificate(request, [
    extension('2.5.29.19', true, sequence(der(tags.boolean, Buffer.from([0xff])), der(tags.integer, Buffer.from([0])))),
    extension('2.5.29.15', true, usage),
    extension('2.5.29.30', true, constraints),
    extension('2.5.29.14', false, der(tags.octets, keyIdOf(request.publicKey))),
  ]);
}

/** A server certificate for localhost, 127.0.0.1 and ::1. PEM. */
export function createLocalhostCertificate(request: CertificateRequest): string {
  const names = sequence(
    der(0x82, Buffer.from(dnsName)),
    der(0x87, addressBytes('127.0.0.1')),
    der(0x87, addressBytes('::1')),
  );
  const issuerKeyId = keyIdOf(createPublicKey(request.issuer.privateKey));
  return createCertificate(request, [
    extension('2.5.29.19', true, sequence()),
    // Bit digitalSignature.
    extension('2.5.29.15', true, der(tags.bits, Buffer.from([7, 0x80]))),
    extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'))),
    extension('2.5.29.17', false, names),
    extension('2.5.29.14', false, der(tags.octets, keyIdOf(request.publicKey))),
    extension('2.5.29.35', false, sequence(der(0x80, issuerKeyId))),
  ]);
}

function createCertificate(request: CertificateRequest, extensions: readonly Buffer[]): string {
  const { publicKey, commonName, issuer, notBefore, notAfter } = request;
  // Positive and never shorter than it looks: the first byte lies between 0x40 and 0x7f.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x3f) | 0x40;
  const body = sequence(
    der(0xa0, der(tags.integer, Buffer.from([2]))),
    der(tags.integer, serial),
    ecdsaWithSha256,
    nameOf(issuer.commonName),
    sequence(time(notBefore), time(notAfter)),
    nameOf(commonName),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = sign('sha256', body, issuer.privateKey);
  const bytes = sequence(body, ecdsaWithSha256, der(tags.bits, Buffer.from([0]), signature));
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function nameOf(commonName: string): Buffer {
  return sequence(der(tags.set, sequence(oid('2.5.4.3'), der(tags.utf8, Buffer.from(commonName)))));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [der(tags.boolean, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...critical, der(tags.octets, value));
}

function keyIdOf(publicKey: KeyObject): Buffer {
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest().subarray(0, 20);
}

/** Years from 2050 on take the longer form (RFC 5280, 4.1.2.5). */
function time(at: Date): Buffer {
  const text = `${at.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  return at.getUTCFullYear() < 2050 ? der(utcTimeTag, Buffer.from(text.slice(2))) : der(generalizedTimeTag, Buffer.from(text));
}

/** Address and mask, as name constraints want them. */
function networkOf(address: string, prefixBits: number): Buffer {
  const bytes = addressBytes(address);
  const mask = Buffer.from(bytes.map((_, index) => (0xff00 >> Math.max(0, Math.min(8, prefixBits - 8 * index))) & 0xff));
  return Buffer.concat([bytes, mask]);
}

/** Of an IPv4 address, or of an IPv6 address of the form `::n`. */
function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const bytes = Buffer.alloc(16);
  bytes[15] = Number(address.slice(2));
  return bytes;
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(tags.oid, Buffer.from(bytes));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(tags.sequence, ...parts);
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), body]);
}
