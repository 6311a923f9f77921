/** A session while the relay serves it: what its connections share, and the wall at its end. */
import type { RelayLog } from './relay-log.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant, Session } from '../grant/grant.ts';
import type { Policy } from '../policy/policy.ts';
import type { ApprovalDesk } from '../grant/request.ts';
import type { MaskRules } from '../mask/plan.ts';
import { isReadOnly } from '../policy/decide.ts';
import { hasMasks, maskRulesFor, masksNextChange } from '../policy/masks.ts';
import type { CancelKeys } from './cancel-keys.ts';
import type { Target } from './config.ts';
import type { Journal } from './journal.ts';
import type { MaskPlans } from './mask-plans.ts';
import type { StatementParser } from './parsing.ts';
import type { CatalogView } from './settings-watch.ts';
import { WarmUpstreams } from './warm-upstreams.ts';

/** Open connections that one session may have. */
export const connectionsPerSessionMax = 100;

/** What a session needs of its connections. */
export interface SessionConnection {
  /** Resolves when the login is done, or has failed. */
  serve(): Promise<void>;
  end(error: GateError | undefined, reason: string): Promise<void>;
  /** Resolves when the end is on record. */
  readonly ended: Promise<void>;
}

export type SessionServices = {
  readonly policy: () => Policy;
  readonly parser: StatementParser;
  readonly cancelKeys: CancelKeys;
  readonly desk: ApprovalDesk;
  /** Of a target's database, as it was last looked at. */
  readonly catalogOf: (target: Target) => CatalogView;
  readonly maskPlans: MaskPlans;
  readonly maskKey: Buffer;
  readonly log: RelayLog;
};

export class LiveSession {
  readonly #session: Session;
  readonly target: Target;
  readonly journal: Journal;
  readonly policy: () => Policy;
  readonly parser: StatementParser;
  readonly cancelKeys: CancelKeys;
  readonly desk: ApprovalDesk;
  readonly catalog: CatalogView;
  /** How long held statements wait; undefined: as long as policy lets them. */
  readonly waitSeconds: number | undefined;
  readonly maskPlans: MaskPlans;
  readonly maskKey: Buffer;
  readonly log: RelayLog;
  /** Where connections to its database come from. */
  readonly upstreams: WarmUpstreams;
  #maskRules: { readonly policy: Policy; readonly until: number; readonly rules: MaskRules } | undefined;
  readonly #connections = new Set<SessionConnection>();
  #catalogUse: ReturnType<CatalogView['use']> | undefined;
  #catalogPolicy: Policy | undefined;
  #ended: GateError | undefined;

  constructor(session: Session, target: Target, journal: Journal, services: SessionServices, waitSeconds?: number) {
    this.#session = session;
    this.target = target;
    this.journal = journal;
    this.policy = services.policy;
    this.parser = services.parser;
    this.cancelKeys = services.cancelKeys;
    this.desk = services.desk;
    this.catalog = services.catalogOf(target);
    this.waitSeconds = waitSeconds;
    this.maskPlans = services.maskPlans;
    this.maskKey = services.maskKey;
    this.log = services.log;
    this.upstreams = new WarmUpstreams({ target, right: () => this.#rightToSpares(), log: this.log });
  }

  /** As it is stored. */
  get session(): Session {
    return this.#session;
  }

  get id(): string {
    return this.#session.id;
  }

  get grant(): Grant {
    return this.#session.grant;
  }

  get user(): string {
    return this.#session.user;
  }

  get verifier(): string {
    return this.#session.verifier;
  }

  /** Roles that may only read get database sessions that can do nothing else, whatever a function hides. */
  get limits(): { readonly isReadOnly: boolean; readonly statementTimeoutMs?: number } {
    const { target, role } = this.grant;
    const granted = this.policy().targets.get(target)?.find(({ name }) => name === role);
    if (granted === undefined) return { isReadOnly: true };
    const { statementTimeoutMs } = granted;
    return { isReadOnly: isReadOnly(granted) || this.grant.isReadOnly === true, ...(statementTimeoutMs !== undefined && { statementTimeoutMs }) };
  }

  /** The masks that apply now; they change with the policy, and when an exemption ends. */
  maskRules(): MaskRules {
    const policy = this.policy();
    const now = Date.now();
    if (this.#maskRules?.policy === policy && now < this.#maskRules.until) return this.#maskRules.rules;
    const { target, role, principal } = this.grant;
    const of = { target, role, principal, now: new Date(now) };
    const rules = maskRulesFor(policy, of);
    this.#maskRules = { policy, until: masksNextChange(policy, of)?.getTime() ?? Infinity, rules };
    return rules;
  }

  /** Fails when the session has ended, or its grant has. */
  checkOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
    if (new Date() >= this.grant.expiresAt) {
      throw new GateError('grant-expired', `the grant expired at ${this.grant.expiresAt.toISOString()}`, {
        hint: 'Run gate connect again.',
      });
    }
  }

  /** Connections that wait for a client are held under this policy and these masks, and while new ones may come. */
  #rightToSpares(): string | undefined {
    if (this.#ended !== undefined || new Date() >= this.grant.expiresAt) return undefined;
    return `${this.policy().digest} ${this.maskRules().digest}`;
  }

  /** Serves one connection to its end. */
  async serve(connection: SessionConnection): Promise<void> {
    if (this.#connections.size >= connectionsPerSessionMax) {
      return connection.end(
        new GateError('too-many', `this session has ${connectionsPerSessionMax} connections already`),
        'too many connections',
      );
    }
    this.#connections.add(connection);
    void connection.ended.then(() => {
      this.#connections.delete(connection);
      if (this.#connections.size > 0) return;
      this.#catalogUse?.release();
      this.#catalogUse = undefined;
    });
    await connection.serve();
  }

  /** Resolves when names can be looked up; at once, and without looking, where nothing in the role asks for them. */
  useCatalog(): Promise<void> | void {
    const policy = this.policy();
    // Each statement asks for it.
    if (this.#catalogUse !== undefined && this.#catalogPolicy === policy) return this.#catalogUse.ready;
    const { target, role } = this.grant;
    const granted = policy.targets.get(target)?.find(({ name }) => name === role);
    const isMasked = this.maskRules().rules.length > 0;
    const asksForNames = granted !== undefined && (granted.rules.length > 0 || granted.rowsMax !== undefined || isMasked);
    if (!asksForNames || this.#connections.size === 0) return;
    if (hasMasks(policy, target)) this.catalog.wantDetails();
    this.#catalogUse ??= this.catalog.use();
    this.#catalogPolicy = policy;
    return this.#catalogUse.ready;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Ends every connection with this error and lets no new one in. */
  async end(error: GateError): Promise<void> {
    this.#ended = error;
    await this.endConnections(error);
  }

  /** As the relay stops, or the session ends: nothing is opened ahead any more. */
  async endConnections(error: GateError): Promise<void> {
    this.upstreams.close();
    await Promise.all([...this.#connections].map((connection) => connection.end(error, error.message)));
  }
}
