/** From "I want to reach this target" to an open session: grant, tunnel password, session. */
import { randomBytes } from 'node:crypto';
import type { GrantRequest, SessionInfo } from '../api/api.ts';
import { createVerifier } from '../pgwire/scram.ts';
import type { RelayClient } from './relay-client.ts';

/** A session with the password that only this process knows; the relay got its SCRAM verifier. */
export type OpenSession = SessionInfo & { readonly password: string };

/** A session that was opened here. */
export type TimedSession = OpenSession & {
  /** `expiresAt` on this machine's clock, which may differ from the relay's; late by at most one exchange with it. */
  readonly deadline: Date;
};

/** `waitSeconds`: how long held statements may wait for approval; 0 not at all, undefined as long as policy lets them. */
export async function openSession(
  relay: RelayClient,
  command: 'connect' | 'exec',
  request: GrantRequest,
  waitSeconds?: number,
): Promise<TimedSession> {
  const grant = await relay.createGrant(request);
  const deadline = new Date(Date.now() + Date.parse(grant.expiresAt) - Date.parse(grant.createdAt));
  const password = randomBytes(24).toString('base64url');
  const session = await relay.createSession({
    grant: grant.id,
    verifier: createVerifier(password, randomBytes(16)),
    command,
    ...(waitSeconds !== undefined && { waitSeconds }),
  });
  return { ...session, password, deadline };
}
