/** Who calls: the token of a request checked, what it says of the person kept, and its age where groups must be current. */
import { decodeJwt } from 'jose';
import { GateError } from '../errors/errors.ts';
import { decisionsChain } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import type { PrincipalStore } from '../grant/request-store.ts';
import type { TokenVerifier, VerifiedToken } from '../oidc/verify.ts';
import type { Policy } from '../policy/policy.ts';
import { offboardingOf } from '../workload/offboarded.ts';
import { asAgent } from './agents.ts';
import type { LoginRefusals } from './login-refusals.ts';
import { who } from './request-events.ts';
import type { RelayLog } from './relay-log.ts';
import { loginPrefix, offboardedError, type WorkloadLogins } from './workload-logins.ts';

/** People whose newest token is known without asking the state. */
const knownMax = 10_000;

export type CallersOptions = {
  readonly verifier: Pick<TokenVerifier, 'verify'>;
  readonly workloads: Pick<WorkloadLogins, 'authenticate'>;
  readonly policy: () => Policy;
  readonly refusals: LoginRefusals;
  /** The issuer of people's tokens. */
  readonly issuer: string;
  readonly people: PrincipalStore;
  readonly recorder: Recorder;
  readonly groupsMaxAgeSeconds: number;
  readonly log: RelayLog;
};

export class Callers {
  readonly #options: CallersOptions;
  /** When the newest token that was kept of each person was issued. */
  readonly #known = new Map<string, number>();
  /** The same of those who were refused because they have left. */
  readonly #left = new Map<string, number>();

  constructor(options: CallersOptions) {
    this.#options = options;
  }

  /**
   * From the Authorization header, and the Gate-Agent header where there is one. Fails with `login-required`, or with
   * `denied` where the policy says that they have left. What is kept of the person is what their token says: an agent that
   * carries it is none of it.
   */
  async authenticate(header: string | undefined, agent?: string): Promise<VerifiedToken> {
    const token = /^Bearer ([\w.~+/=-]+)$/i.exec(header ?? '')?.[1];
    if (token === undefined) throw new GateError('login-required', 'the request carries no access token', { hint: 'Run gate login.' });
    const verified = token.startsWith(loginPrefix) ? await this.#options.workloads.authenticate(token) : await this.#person(token);
    return agent === undefined ? verified : { ...verified, principal: asAgent(verified.principal, agent) };
  }

  /** For what is decided by groups: fails with `login-required` also when the token is too old to know them. */
  async authenticateFresh(header: string | undefined, agent?: string): Promise<VerifiedToken> {
    const verified = await this.authenticate(header, agent);
    const ageSeconds = Math.floor((Date.now() - verified.issuedAt.getTime()) / 1000);
    const { groupsMaxAgeSeconds } = this.#options;
    if (ageSeconds <= groupsMaxAgeSeconds) return verified;
    throw new GateError(
      'login-required',
      `your token is ${describeSeconds(ageSeconds)} old, and for this it may be ${describeSeconds(groupsMaxAgeSeconds)} old at most, so that your groups are current`,
      { hint: 'Run gate login; with GATE_TOKEN, set a new token.' },
    );
  }

  async #person(token: string): Promise<VerifiedToken> {
    this.#checkIssuer(token);
    const verified = await this.#options.verifier.verify(token);
    await this.#checkIsHere(verified);
    await this.#see(verified);
    return verified;
  }

  /** A platform's token says who somebody is once, and is not sent along with every request. */
  #checkIssuer(token: string): void {
    const { policy, issuer } = this.#options;
    const iss = unverifiedIssuer(token);
    const trusted = iss === issuer ? undefined : [...policy().machines.issuers.values()].find(({ url }) => url === iss);
    if (trusted === undefined) return;
    throw new GateError('login-required', `a token of ${trusted.name} must be exchanged for a login first`, {
      hint: 'gate does so by itself, also with one in GATE_TOKEN; others send it to POST /v1/token.',
    });
  }

  async #checkIsHere({ principal, issuedAt }: VerifiedToken): Promise<void> {
    const left = offboardingOf(this.#options.policy().machines, principal);
    if (left === undefined) return;
    const error = offboardedError(left);
    if (this.#left.get(principal.subject) !== issuedAt.getTime()) {
      if (this.#left.size >= knownMax) this.#left.clear();
      this.#left.set(principal.subject, issuedAt.getTime());
      await this.#options.refusals.record({ error, subject: principal.subject });
    }
    throw error;
  }

  /** A state that cannot be written now keeps nobody out; the groups of the token itself count for this request. */
  async #see({ principal, issuedAt, expiresAt }: VerifiedToken): Promise<void> {
    const key = JSON.stringify([principal.issuer, principal.subject]);
    if ((this.#known.get(key) ?? 0) >= issuedAt.getTime()) return;
    try {
      const { people, recorder } = this.#options;
      await Promise.all([
        people.see(principal, issuedAt),
        recorder.record(decisionsChain, [{ kind: 'login', who: who(principal), issuedAt: issuedAt.toISOString(), expiresAt: expiresAt.toISOString() }]),
      ]);
      if (this.#known.size >= knownMax) this.#known.clear();
      this.#known.set(key, issuedAt.getTime());
    } catch (error) {
      this.#options.log.error({ err: error, subject: principal.subject }, 'a new token of a caller could not be kept or recorded');
    }
  }
}

function unverifiedIssuer(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

function describeSeconds(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
}
