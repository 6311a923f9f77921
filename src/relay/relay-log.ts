/** Structured logs of the relay: one JSON object per line on stderr, without bodies, headers or SQL. */
import { destination, pino, type Logger } from 'pino';

export type RelayLog = Logger;

export function createRelayLog(level: string): RelayLog {
  const options = { level, base: null, timestamp: () => `,"time":"${new Date().toISOString()}"` };
  // Synchronous, so that the last lines before a crash are there; the relay logs events, not statements.
  return pino(options, destination({ dest: 2, sync: true }));
}
