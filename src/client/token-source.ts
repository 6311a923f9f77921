/** What each source of access tokens offers to the calls of the relay. */
import type { GateError } from '../errors/errors.ts';

export interface AccessTokens {
  /** Fresh for at least a minute wherever the issuer lets it be renewed. Fails with `login-required`. */
  current(): Promise<string>;
  /** Another token than `rejected`, which the relay did not take, and what it said; undefined when there is none to be had. */
  renew(rejected: string, refusal?: GateError): Promise<string | undefined>;
}
