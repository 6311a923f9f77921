/** What a client is told in place of a statement that does not run. */
import { GateError } from '../errors/errors.ts';
import type { Decision } from '../policy/decide.ts';

export function cancelled(): GateError {
  return new GateError('cancelled', 'the statement was cancelled before it was sent to the database');
}

export function withdrawn(): GateError {
  return new GateError('cancelled', 'the statement was withdrawn before it was approved; nothing has run');
}

/** The server would say the same of whatever comes before ROLLBACK; nobody is to be asked about it. */
export function transactionAborted(): GateError {
  return new GateError('transaction-aborted', 'current transaction is aborted, commands ignored until end of transaction block');
}

export function needsApproval({ rule, reason }: Decision): GateError {
  return new GateError('denied', `${reason}, and this portal was bound before that was so`, { rule, hint: 'Send the statement again.' });
}

export function timedOut(timeoutMs: number): GateError {
  return new GateError('statement-timeout', `the statement took longer than ${timeoutMs} ms`, {
    rule: 'statement-timeout',
    hint: 'Policy sets this limit. Narrow the statement down, or ask for a role with a longer one.',
  });
}

export function tooManyRows(rowsMax: number): GateError {
  return new GateError('row-limit', `the statement is over the limit of ${rowsMax} rows; what it changed is rolled back`, {
    rule: 'row-limit',
    hint: 'Narrow it down, or ask for a role without this limit.',
  });
}

/** Rows of COPY stream past, and a text of several statements is one transaction: neither can be taken back by the row. */
export function uncountable(rowsMax: number): GateError {
  return new GateError('row-limit', `under a limit of ${rowsMax} rows, statements come one at a time, without others nested in them, and COPY not at all`, {
    rule: 'row-limit',
    hint: 'Send each statement by itself, and read with SELECT.',
  });
}

/** The statement at the server was rewritten by masks over another catalog. */
export function staleMasks(): GateError {
  return new GateError('denied', 'the database has changed since this statement was prepared, and its masks with it', {
    rule: 'masks/stale',
    hint: 'Prepare the statement again.',
  });
}

/** The relay would lose track of what names mean. */
export function hiddenNameChange(): GateError {
  return new GateError('denied', 'EXECUTE of a statement that itself prepares, deallocates or executes is not supported', {
    rule: 'execute',
    hint: 'Send that statement itself.',
  });
}

export function portalByFetch(name: string): GateError {
  return new GateError('denied', `"${name}" is a portal of the protocol, which FETCH may not read`, {
    rule: 'portals',
    hint: 'Read it with Execute messages, or declare a cursor with DECLARE.',
  });
}

export function pinned(setting: string): GateError {
  return new GateError('denied', `the setting ${setting} cannot be changed in this session`, {
    rule: 'pinned-settings',
    hint: 'It decides how the server reads SQL text, which must be exactly as the relay reads it.',
  });
}
