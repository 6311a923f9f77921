/** Permission and its use: a Grant is what one principal may do on one target until a moment; a Session is one use of it. */
import type { Principal } from '../principal/principal.ts';
import type { StatementKind } from '../sql/kind.ts';

export type Grant = {
  readonly id: string;
  readonly principal: Principal;
  readonly target: string;
  readonly role: string;
  readonly reason?: string;
  readonly ticket?: string;
  /** Reads only, whatever the role allows. */
  readonly isReadOnly?: true;
  /** The request that it came of, or by which it is looked at afterwards. */
  readonly request?: string;
  readonly createdAt: Date;
  /** A hard wall: no connection outlives it, and nothing moves it. */
  readonly expiresAt: Date;
  readonly revocation?: Revocation;
};

/** The early end of a grant, which nothing takes back. */
export type Revocation = { readonly at: Date; readonly by: Principal; readonly reason?: string };

/** One `gate connect` or `gate exec`: the connections behind one tunnel password. */
export type Session = {
  readonly id: string;
  readonly grant: Grant;
  readonly command: 'connect' | 'exec';
  /** The user name that clients log in with through the tunnel. */
  readonly user: string;
  /** SCRAM-SHA-256 verifier of the tunnel password (the format of pg_authid.rolpassword). */
  readonly verifier: string;
  readonly startedAt: Date;
  readonly end?: SessionEnd;
};

export type SessionCounts = { readonly connections: number; readonly statements: number; readonly refused: number };

export type SessionEnd = { readonly at: Date; readonly reason: string; readonly counts: SessionCounts };

/** What the statements of a session did: their kinds, the rows that they returned, and the requests by whose approval they ran. */
export type SessionUsage = { readonly kinds: readonly StatementKind[]; readonly rows: number; readonly requests: readonly string[] };

/** Where grants and sessions live. Every write is durable when its promise resolves. */
export interface GrantStore {
  saveGrant(grant: Grant): Promise<void>;
  loadGrant(id: string): Promise<Grant | undefined>;
  /** False when it is revoked already or unknown; then nothing changes. */
  revokeGrant(id: string, revocation: Revocation): Promise<boolean>;
  /** Newest first. `principal` narrows to one owner, `idPrefix` to ids that start so. */
  listGrants(filter: {
    readonly principal?: Pick<Principal, 'issuer' | 'subject'>;
    readonly idPrefix?: string;
    /** Not revoked, and not over at this moment. */
    readonly liveAt?: Date;
    readonly limit: number;
  }): Promise<Grant[]>;
  /** Adds to what a session has done before. Once an id has ended it counts all the same. */
  addUsage(session: string, usage: SessionUsage): Promise<void>;
  /** Requests by whose approval statements of the session ran. */
  approvalsIn(session: string): Promise<string[]>;
  saveSession(session: Session): Promise<void>;
  /** By whole id. */
  loadSession(id: string): Promise<Session | undefined>;
  /** False when the session had ended already or is unknown; then nothing changes. */
  endSession(id: string, end: SessionEnd): Promise<boolean>;
  /** Newest first. */
  listSessions(filter: SessionFilter): Promise<Session[]>;
}

export type SessionFilter = {
  /** One owner. */
  readonly principal?: Pick<Principal, 'issuer' | 'subject'>;
  /** Ids that start so. */
  readonly idPrefix?: string;
  readonly isOpen?: boolean;
  readonly target?: string;
  readonly role?: string;
  /**
   * Part of the name or subject. Letters match in either case; for a character beyond ASCII any other may stand, so the
   * caller looks again.
   */
  readonly namePart?: string;
  /** The same, of a human: of the owner, or of somebody in the chain behind a machine, verified or claimed. */
  readonly humanPart?: string;
  /** Open at this moment or later, and begun at this one or earlier. */
  readonly from?: Date;
  readonly to?: Date;
  /** Those that come behind this one in the list. */
  readonly after?: Pick<Session, 'id' | 'startedAt'>;
  readonly limit: number;
};
