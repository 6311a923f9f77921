/** What the processes of a relay with workers ask each other for. */
import type { ErrorBody } from '../api/api.ts';
import type { Event } from '../audit/entry.ts';
import type { Haste } from '../audit/recorder.ts';
import type { Session } from '../grant/grant.ts';
import type { ApprovalDesk } from '../grant/request.ts';
import type { LastNumbers } from '../store/log-index.ts';
import type { RelayConfig } from './config.ts';

/** Another process that serves the session: a Unix socket that takes its tunnels. */
export type Elsewhere = { readonly at: string };

/** Headers by which somebody asks for a tunnel: a token, and the agent that uses it. */
export type Asking = { readonly authorization: string | undefined; readonly agent: string | string[] | undefined };

/** A session for the worker that serves it. All its connections are served by one, which numbers them and their statements. */
export type Handed = { readonly session: Session; readonly numbers: LastNumbers; readonly waitSeconds: number | undefined };

/** What workers ask the primary for. */
export type PrimaryCalls = {
  /** For a tunnel that has come: the session has been handed to the worker by the time of the answer, or is served elsewhere. */
  readonly open: (asking: Asking, session: string) => Promise<Elsewhere | undefined>;
  readonly record: (session: string, events: readonly Event[]) => Promise<void>;
  /** Resolves when written. `token` is new with each call. */
  readonly write: (session: string, events: readonly Event[], haste: Haste, token: number) => Promise<void>;
  /** Of what was written by this token; to be asked once, behind it. */
  readonly durable: (token: number) => Promise<void>;
  readonly take: ApprovalDesk['take'];
  readonly ask: ApprovalDesk['ask'];
  readonly decided: ApprovalDesk['decided'];
  readonly withdraw: ApprovalDesk['withdraw'];
  /** Definitions were changed through this worker. */
  readonly catalogChanged: (target: string) => void;
};

/** What the primary asks workers for. */
export type WorkerCalls = {
  /** Resolves with the port once it serves. */
  readonly start: (settings: WorkerSettings) => Promise<number>;
  readonly serveSession: (handed: Handed) => void;
  readonly setPolicy: (text: string) => void;
  /** Ends its connections with this error, and resolves when that is on record. */
  readonly endSession: (session: string, error: ErrorBody['error']) => Promise<void>;
  readonly catalogChanged: (target: string) => void;
  /** Lets nobody in any more, and resolves when all sockets are closed. */
  readonly stop: () => Promise<void>;
};

/** Secrets among it, so it never stands in arguments or in the environment. */
export type WorkerSettings = {
  readonly config: Pick<RelayConfig, 'listen' | 'tls' | 'targets' | 'policyFile'>;
  readonly policy: string;
  readonly maskKey: Uint8Array;
  readonly logLevel: string;
  /** Unix sockets: of the primary's API, and that on which this worker takes tunnels from others. */
  readonly apiSocket: string;
  readonly ownSocket: string;
  readonly socketsMax: number;
};
