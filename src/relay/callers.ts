/** Who calls: the token of a request checked, what it says of the person kept, and its age where groups must be current. */
import { GateError } from '../errors/errors.ts';
import { decisionsChain } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import type { PrincipalStore } from '../grant/request-store.ts';
import type { TokenVerifier, VerifiedToken } from '../oidc/verify.ts';
import { asAgent } from './agents.ts';
import { who } from './request-events.ts';
import type { RelayLog } from './relay-log.ts';

/** People whose newest token is known without asking the state. */
const knownMax = 10_000;

export type CallersOptions = {
  readonly verifier: Pick<TokenVerifier, 'verify'>;
  readonly people: PrincipalStore;
  readonly recorder: Recorder;
  readonly groupsMaxAgeSeconds: number;
  readonly log: RelayLog;
};

export class Callers {
  readonly #options: CallersOptions;
  /** When the newest token that was kept of each person was issued. */
  readonly #known = new Map<string, number>();

  constructor(options: CallersOptions) {
    this.#options = options;
  }

  /**
   * From the Authorization header, and the Gate-Agent header where there is one. Fails with `login-required`. What is kept
   * of the person is what their token says: an agent that carries it is none of it.
   */
  async authenticate(header: string | undefined, agent?: string): Promise<VerifiedToken> {
    const token = /^Bearer ([\w.~+/=-]+)$/i.exec(header ?? '')?.[1];
    if (token === undefined) throw new GateError('login-required', 'the request carries no access token', { hint: 'Run gate login.' });
    const verified = await this.#options.verifier.verify(token);
    await this.#see(verified);
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

function describeSeconds(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
}
