/** What the checks of gate doctor are made of: steps, their findings, and the facts that one learns for the next. */
import type { RelayInfo, TargetInfo } from '../api/api.ts';
import type { ErrorCode } from '../errors/errors.ts';
import type { ClientConfig } from './config.ts';
import type { RelayClient } from './relay-client.ts';

export type CheckStatus = 'ok' | 'warning' | 'failed' | 'skipped';

export type Finding = {
  readonly status: CheckStatus;
  readonly detail: string;
  /** What to do about it, as a sentence with the command to type. */
  readonly fix?: string;
  /** Of a failure: what kind it is, and so the exit code. */
  readonly code?: ErrorCode;
};

/** A GateError that `run` throws is a failed check with its message and hint. */
export type Step = {
  readonly name: string;
  /** Steps without whose success this one says nothing. */
  readonly needs: readonly string[];
  /** For failures that bring no hint of their own. */
  readonly fix?: string;
  run(facts: Facts): Promise<Finding>;
};

/** Filled by the steps as they succeed. */
export type Facts = {
  config?: ClientConfig;
  relay?: URL;
  info?: RelayInfo;
  client?: RelayClient;
  target?: TargetInfo;
  /** How far each server's clock is ahead of this one's, and how exactly that is known. */
  serverTimes: { readonly server: string; readonly aheadMs: number; readonly withinMs: number }[];
};

export type DoctorOptions = {
  /** Fails as `loadClientConfig` does. */
  readonly loadConfig: () => Promise<ClientConfig>;
  readonly createClient: (config: ClientConfig) => RelayClient;
  /** The local port that must be free; 0 for any. */
  readonly port: number;
  readonly target?: string;
  readonly role?: string;
  /** With it a session is opened on the target and ended again. */
  readonly reason?: string;
  /** Ends the statement of that session. */
  readonly signal: () => AbortSignal;
};

export function ok(detail: string): Finding {
  return { status: 'ok', detail };
}

export function warning(detail: string, fix: string): Finding {
  return { status: 'warning', detail, fix };
}

export function failed(code: ErrorCode, detail: string, fix: string): Finding {
  return { status: 'failed', detail, fix, code };
}

export function skipped(detail: string, fix?: string): Finding {
  return { status: 'skipped', detail, ...(fix !== undefined && { fix }) };
}

/** A fact that an earlier step has learnt; a step without it forgot to name that step in `needs`. */
export function known<T>(fact: T | undefined): T {
  if (fact === undefined) throw new Error('a check ran before the one that it needs');
  return fact;
}
