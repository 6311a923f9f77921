/** The checks of gate doctor on the way to relay and issuer: names, ports, certificates, HTTP, upgrades, clocks. */
import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import * as z from 'zod/mini';
import { GateError, type ErrorCode } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';
import { parseSecureUrl } from '../oidc/secure-url.ts';
import { readCertificate } from './check-certificate.ts';
import { failed, known, ok, skipped, warning, type Facts, type Finding, type Step } from './check-step.ts';
import { checkUpgrade } from './check-upgrade.ts';
import { fetchRelayInfo } from './relay-client.ts';

const connectMsMax = 5000;
const requestMsMax = 10_000;
const answerBytesMax = 256 * 1024;
const certificateDaysMin = 14;
/** Tokens are judged by the relay's clock, with a tolerance of this size. */
const clockMsMax = 30_000;

/** One of the two ends of the network, and where it becomes known. */
type Server = {
  readonly name: 'relay' | 'issuer';
  readonly code: ErrorCode;
  /** The step after which its URL is known. */
  readonly from: string;
  url(facts: Facts): URL;
};

const relay: Server = { name: 'relay', code: 'relay-unreachable', from: 'relay', url: (facts) => known(facts.relay) };
const issuer: Server = {
  name: 'issuer',
  code: 'issuer-unreachable',
  from: 'relay-http',
  url: (facts) => parseSecureUrl(known(facts.info).issuer, 'the issuer that the relay names', 'config-invalid'),
};

export function relaySteps(): readonly Step[] {
  return [
    ...connectionSteps(relay),
    { name: 'relay-http', needs: ['relay-tls'], run: checkRelayHttp },
    { name: 'relay-ready', needs: ['relay-http'], run: checkReady },
    { name: 'relay-websocket', needs: ['relay-http'], run: (facts) => checkUpgrade(relayUrl(facts)) },
  ];
}

/** With the clock at the end, which both servers are asked for. */
export function issuerSteps(): readonly Step[] {
  return [
    ...connectionSteps(issuer),
    { name: 'issuer-http', needs: ['issuer-tls'], run: checkIssuerHttp },
    { name: 'clock', needs: ['relay-http'], run: ({ serverTimes }) => Promise.resolve(checkClock(serverTimes)) },
  ];
}

function connectionSteps(server: Server): readonly Step[] {
  const { name } = server;
  return [
    { name: `${name}-dns`, needs: [server.from], run: (facts) => checkName(server, server.url(facts)) },
    { name: `${name}-tcp`, needs: [`${name}-dns`], run: (facts) => checkPort(server, server.url(facts)) },
    { name: `${name}-tls`, needs: [`${name}-tcp`], run: (facts) => checkCertificate(server, server.url(facts)) },
  ];
}

/** As the relay's client writes it: without a trailing slash. */
function relayUrl(facts: Facts): string {
  return known(facts.relay).href.replace(/\/+$/, '');
}

/** Host and port to connect to; an IPv6 address has no brackets there. */
function addressOf(url: URL): { readonly host: string; readonly port: number } {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: Number(url.port) || (url.protocol === 'https:' ? 443 : 80) };
}

async function checkName(server: Server, url: URL): Promise<Finding> {
  const { host } = addressOf(url);
  if (isIP(host) !== 0) return ok(`${host} is an address; no name to look up`);
  try {
    const addresses = await lookup(host, { all: true });
    return ok(`${host} is ${addresses.map(({ address }) => address).join(', ')}`);
  } catch (error) {
    const { reason } = describeNetworkFailure(error);
    const fix =
      server.name === 'relay'
        ? 'Check the spelling, and whether this network (or VPN) knows the name; another relay is chosen with --relay or GATE_RELAY.'
        : 'The relay sends logins there: check whether this network (or VPN) knows the name.';
    return failed(server.code, `${host}: ${reason}`, fix);
  }
}

async function checkPort(server: Server, url: URL): Promise<Finding> {
  const { host, port } = addressOf(url);
  const startedAt = performance.now();
  try {
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ host, port, timeout: connectMsMax });
      socket.once('timeout', () => socket.destroy(new DOMException('timed out', 'TimeoutError')));
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.destroy();
        resolve();
      });
    });
    return ok(`port ${port} of ${host} answers in ${Math.round(performance.now() - startedAt)} ms`);
  } catch (error) {
    const { reason } = describeNetworkFailure(error);
    const fix =
      server.name === 'relay'
        ? 'Is the relay running, its port right, and no firewall (or required proxy) in between? Another is chosen with --relay or GATE_RELAY.'
        : 'Is the issuer running, and no firewall (or required proxy) in between? Whoever runs the relay chose it in relay.yaml.';
    return failed(server.code, `port ${port} of ${host}: ${reason}`, fix);
  }
}

async function checkCertificate(server: Server, url: URL): Promise<Finding> {
  if (url.protocol === 'http:') return skipped('plain http, which never leaves this machine, has no certificate');
  const { problem, fix, issuedBy, endsAt, names } = await readCertificate(addressOf(url), server.code);
  const description = `issued by ${issuedBy} for ${names}, ends ${endsAt.toISOString().slice(0, 10)}`;
  if (problem !== undefined) return failed(server.code, `${problem} (${description})`, fix);
  const days = Math.floor((endsAt.getTime() - Date.now()) / 86_400_000);
  if (days >= certificateDaysMin) return ok(description);
  return warning(`${description}, which is in ${days} days`, `Tell whoever runs the ${server.name} to renew its certificate.`);
}

async function checkRelayHttp(facts: Facts): Promise<Finding> {
  const info = await fetchRelayInfo(relayUrl(facts)).catch((error: unknown) => {
    // Whatever status it was: the public page of a relay answers everybody, so what answered is none.
    if (!(error instanceof GateError)) throw error;
    throw new GateError('relay-unreachable', error.message, { cause: error, ...(error.hint !== undefined && { hint: error.hint }) });
  });
  facts.info = info;
  return ok(`gate relay ${info.version}, logins at ${info.issuer}`);
}

const Readiness = z.object({ ready: z.boolean(), checks: z.record(z.string(), z.boolean()), policyError: z.optional(z.string()) });

async function checkReady(facts: Facts): Promise<Finding> {
  const { status, text } = await fetchText(relay, `${relayUrl(facts)}/readyz`, facts);
  const answer = Readiness.safeParse(parseJson(text));
  if (!answer.success) {
    return failed('protocol-violation', `/readyz answers ${status}, and not as a gate relay does`, 'A proxy in between may have answered; ask whoever runs the relay.');
  }
  const { ready, checks, policyError } = answer.data;
  if (ready && policyError !== undefined) {
    return warning(`the relay takes sessions under an older policy: ${policyError}`, 'Whoever keeps the policy should mend the file.');
  }
  if (ready) return ok('the relay takes sessions');
  const fix = 'Try again in a moment, then tell whoever runs the relay; its log says more.';
  if (checks['serving'] === false) return failed('relay-stopping', 'the relay is stopping', fix);
  if (checks['record'] === false) return failed('record-unavailable', 'the relay cannot write its record, so it refuses statements', fix);
  if (checks['issuer'] === false) return failed('issuer-unreachable', 'the relay cannot get the keys of the issuer, so it takes no token', fix);
  return failed('relay-unreachable', 'the relay is not ready', fix);
}

const Discovery = z.object({ issuer: z.string(), device_authorization_endpoint: z.optional(z.string()) });

async function checkIssuerHttp(facts: Facts): Promise<Finding> {
  const { issuer: named } = known(facts.info);
  const { status, text } = await fetchText(issuer, `${named.replace(/\/$/, '')}/.well-known/openid-configuration`, facts);
  const answer = Discovery.safeParse(parseJson(text));
  const fix = 'Whoever runs the relay should compare issuer.url in relay.yaml with what the issuer calls itself.';
  if (!answer.success) return failed('issuer-unreachable', `${named} answers ${status} to discovery, and not as an issuer does`, fix);
  if (answer.data.issuer !== named) return failed('issuer-unreachable', `the issuer at ${named} calls itself ${answer.data.issuer}`, fix);
  if (answer.data.device_authorization_endpoint !== undefined) return ok(`${named} offers the device login`);
  return warning(`${named} offers no device login`, 'Whoever runs the issuer has to enable the device authorization grant (RFC 8628).');
}

/** The body, and on the way the server's clock. Fails with the server's own code. */
async function fetchText(server: Server, url: string, facts: Facts): Promise<{ status: number; text: string }> {
  const startedAt = Date.now();
  try {
    const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(requestMsMax) });
    noteTime(server, response.headers.get('date'), startedAt, facts);
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > answerBytesMax) break;
      chunks.push(chunk);
    }
    return { status: response.status, text: Buffer.concat(chunks).toString('utf8') };
  } catch (error) {
    const { reason, hint } = describeNetworkFailure(error);
    throw new GateError(server.code, `cannot reach ${url}: ${reason}`, { cause: error, ...(hint !== undefined && { hint }) });
  }
}

/** The Date header has whole seconds and was written at some time between request and answer. */
function noteTime(server: Server, date: string | null, startedAt: number, facts: Facts): void {
  const time = Date.parse(date ?? '');
  if (Number.isNaN(time)) return;
  const endedAt = Date.now();
  const aheadMs = time + 500 - (startedAt + endedAt) / 2;
  facts.serverTimes.push({ server: server.name, aheadMs, withinMs: 500 + (endedAt - startedAt) / 2 });
}

/** Which clock is wrong, as far as two servers can tell. */
export function checkClock(serverTimes: Facts['serverTimes']): Finding {
  if (serverTimes.length === 0) return skipped('neither relay nor issuer says what time it is');
  const off = serverTimes.filter(({ aheadMs, withinMs }) => Math.abs(aheadMs) - withinMs > clockMsMax);
  const detail = serverTimes.map(describeTime).join(', ');
  if (off.length === 0) return ok(detail);
  const fix =
    off.length === serverTimes.length
      ? 'Set this clock right, as with sudo timedatectl set-ntp true: tokens are judged by time.'
      : `Tell whoever runs the ${off[0]?.server} that its clock is wrong: tokens are judged by time.`;
  return failed('config-invalid', detail, fix);
}

function describeTime({ server, aheadMs, withinMs }: Facts['serverTimes'][number]): string {
  if (Math.abs(aheadMs) <= withinMs + 1000) return `this clock agrees with the ${server}'s`;
  const seconds = Math.round(Math.abs(aheadMs) / 1000);
  return `this clock is ${seconds} s ${aheadMs > 0 ? 'behind' : 'ahead of'} the ${server}'s`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
