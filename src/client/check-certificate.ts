/** Reads the certificate that a server shows, also where it is not to be trusted, and says what is wrong with it. */
import { isIP } from 'node:net';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { GateError, type ErrorCode } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';

const handshakeMsMax = 5000;

export type CertificateFinding = {
  /** Why it is not trusted; undefined when it is. */
  readonly problem: string | undefined;
  readonly fix: string;
  /** Who signed it, as it says itself. */
  readonly issuedBy: string;
  readonly names: string;
  /** The first end in the chain. */
  readonly endsAt: Date;
};

/**
 * Shakes hands and hangs up. Nothing is sent, so that an untrusted certificate can be looked at without harm: its
 * issuer is what tells an inspecting proxy from a mistake. Fails with `code` where there is no handshake.
 */
export async function readCertificate(
  address: { readonly host: string; readonly port: number },
  code: ErrorCode,
): Promise<CertificateFinding> {
  const socket = await shakeHands(address).catch((error: unknown) => {
    const { reason } = describeNetworkFailure(error);
    throw new GateError(code, `no TLS with ${address.host}: ${reason}`, {
      cause: error,
      hint: 'Is the address right, with https and its port? A proxy or firewall may also have cut the connection.',
    });
  });
  const certificate = socket.getPeerCertificate(true);
  // A string at run time: the code of OpenSSL or of the check of names.
  const failure = socket.authorized ? undefined : String(socket.authorizationError);
  socket.destroy();
  return {
    problem: failure === undefined ? undefined : describeNetworkFailure(Object.assign(new Error(failure), { code: failure })).reason,
    fix: fixes[failure ?? ''] ?? fixOfUnknownAuthority,
    issuedBy: nameOf(certificate.issuer),
    names: certificate.subjectaltname ?? nameOf(certificate.subject),
    endsAt: firstEnd(certificate),
  };
}

function shakeHands({ host, port }: { readonly host: string; readonly port: number }): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket = connect({ host, port, ...name, rejectUnauthorized: false, timeout: handshakeMsMax });
    socket.once('timeout', () => socket.destroy(new DOMException('timed out', 'TimeoutError')));
    socket.once('error', reject);
    socket.once('secureConnect', () => resolve(socket));
    socket.once('end', () => reject(Object.assign(new Error('the connection was cut'), { code: 'ECONNRESET' })));
  });
}

function nameOf({ O: organization, CN: common }: { readonly O?: string | string[]; readonly CN?: string | string[] }): string {
  return `"${[organization ?? common ?? 'nobody'].flat().join(', ')}"`;
}

/** The root's issuer is itself; a server may also leave out the rest of its chain. */
function firstEnd(certificate: DetailedPeerCertificate): Date {
  const ends: number[] = [];
  const seen = new Set<DetailedPeerCertificate>();
  for (let link: DetailedPeerCertificate | undefined = certificate; link !== undefined && !seen.has(link); link = link.issuerCertificate) {
    seen.add(link);
    ends.push(Date.parse(link.valid_to));
  }
  return new Date(Math.min(...ends));
}

const fixes: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'Whoever runs that server has to renew its certificate; compare also the clock here: date -u.',
  CERT_NOT_YET_VALID: 'Compare the clock here with another: date -u.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'Use a name that the certificate is for, in --relay or GATE_RELAY.',
};
const fixOfUnknownAuthority =
  'If you trust that issuer (a company may inspect connections), name its PEM file: export NODE_EXTRA_CA_CERTS=/path/ca.pem';
