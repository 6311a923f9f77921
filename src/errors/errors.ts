/** Every deliberate failure of gate, once: its exit code, SQLSTATE, HTTP status and WebSocket close code. */

/**
 * One row per kind of failure. `exit` follows the contract in README.md, `sqlstate` PostgreSQL appendix A,
 * `http` RFC 9110, `close` the private range 4000-4999 of RFC 6455 section 7.4.2 (or a registered code).
 */
export const ERRORS = {
  internal: { exit: 1, sqlstate: 'XX000', http: 500, close: 1011 },
  usage: { exit: 2, sqlstate: '22023', http: 400, close: 4400 },
  'config-invalid': { exit: 2, sqlstate: 'F0000', http: 500, close: 1011 },
  'reason-required': { exit: 2, sqlstate: '42501', http: 422, close: 4422 },
  'ticket-required': { exit: 2, sqlstate: '42501', http: 422, close: 4422 },
  denied: { exit: 3, sqlstate: '42501', http: 403, close: 4403 },
  'target-unknown': { exit: 3, sqlstate: '3D000', http: 404, close: 4404 },
  'not-found': { exit: 3, sqlstate: '42704', http: 404, close: 4404 },
  'not-supported': { exit: 3, sqlstate: '0A000', http: 501, close: 4501 },
  'grant-expired': { exit: 3, sqlstate: '57P01', http: 410, close: 4410 },
  'grant-revoked': { exit: 3, sqlstate: '57P01', http: 410, close: 4412 },
  'session-ended': { exit: 3, sqlstate: '57P01', http: 410, close: 4411 },
  'masks-changed': { exit: 3, sqlstate: '57P01', http: 409, close: 4413 },
  'masks-breached': { exit: 3, sqlstate: '42501', http: 403, close: 4414 },
  'approval-impossible': { exit: 3, sqlstate: '42501', http: 403, close: 4407 },
  'login-required': { exit: 4, sqlstate: '28000', http: 401, close: 4401 },
  'login-failed': { exit: 4, sqlstate: '28000', http: 401, close: 4401 },
  'tunnel-password': { exit: 4, sqlstate: '28P01', http: 401, close: 4401 },
  'approval-rejected': { exit: 5, sqlstate: '42501', http: 403, close: 4405 },
  'approval-expired': { exit: 5, sqlstate: '57014', http: 410, close: 4406 },
  'relay-unreachable': { exit: 6, sqlstate: '08006', http: 502, close: 1011 },
  'relay-stopping': { exit: 6, sqlstate: '57P01', http: 503, close: 1012 },
  'issuer-unreachable': { exit: 6, sqlstate: '08006', http: 503, close: 1011 },
  'upstream-unreachable': { exit: 6, sqlstate: '08001', http: 502, close: 4502 },
  'upstream-protocol': { exit: 6, sqlstate: '08P01', http: 502, close: 4502 },
  'protocol-violation': { exit: 6, sqlstate: '08P01', http: 400, close: 1002 },
  'too-large': { exit: 6, sqlstate: '54000', http: 413, close: 1009 },
  'too-many': { exit: 6, sqlstate: '53300', http: 429, close: 4429 },
  'record-unavailable': { exit: 7, sqlstate: '57P05', http: 503, close: 4507 },
  'row-limit': { exit: 3, sqlstate: '54000', http: 403, close: 4403 },
  'statement-timeout': { exit: 9, sqlstate: '57014', http: 408, close: 4408 },
  'transaction-aborted': { exit: 9, sqlstate: '25P02', http: 409, close: 4409 },
  'record-damaged': { exit: 7, sqlstate: 'XX001', http: 500, close: 1011 },
  'approval-pending': { exit: 8, sqlstate: '42501', http: 202, close: 4408 },
  'statement-unknown': { exit: 9, sqlstate: '26000', http: 404, close: 4404 },
  'portal-unknown': { exit: 9, sqlstate: '34000', http: 404, close: 4404 },
  'name-too-long': { exit: 9, sqlstate: '42622', http: 400, close: 4400 },
  cancelled: { exit: 9, sqlstate: '57014', http: 409, close: 4409 },
  'sql-error': { exit: 9, sqlstate: '42601', http: 400, close: 4400 },
} as const;

export type ErrorCode = keyof typeof ERRORS;

export type ErrorDetails = {
  /** What the reader should do next, as a full sentence or a command. */
  readonly hint?: string;
  /** The rule that decided, for refusals. */
  readonly rule?: string;
  /** The access request that this failure is about. */
  readonly requestId?: string;
  readonly cause?: unknown;
};

/** An expected failure. Anything that is not a GateError is a bug: it keeps its stack and exits 1. */
export class GateError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly rule: string | undefined;
  readonly requestId: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.name = 'GateError';
    this.code = code;
    this.hint = details.hint;
    this.rule = details.rule;
    this.requestId = details.requestId;
  }

  get exitCode(): number {
    return ERRORS[this.code].exit;
  }

  get sqlstate(): string {
    return ERRORS[this.code].sqlstate;
  }

  get httpStatus(): number {
    return ERRORS[this.code].http;
  }

  get closeCode(): number {
    return ERRORS[this.code].close;
  }
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

/** The message of anything thrown; never the stack. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
