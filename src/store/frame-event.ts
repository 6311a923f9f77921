/** An event as the lines of the log: split, sealed with the keys of its session, chained. */
import { randomFillSync } from 'node:crypto';
import { decisionsChain, namesMax, type AuditEntry, type Event } from '../audit/entry.ts';
import { nonceBytes } from '../audit/aead.ts';
import { frameEntry, frameSealed } from '../audit/line.ts';
import { describeSealed, formatEntry, keyedDigest, seal, splitEvent } from '../audit/seal.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import type { Framed } from './log-batch.ts';
import { sealingSession } from './log-entries.ts';
import type { SealingKeys } from './session-keys.ts';

/** Throws `record-unavailable` when a key is gone, `too-large` past what an entry may hold. */
export function frameEvent(keys: SealingKeys, envelope: Omit<AuditEntry, 'event' | 'sealed'>, event: Event): Framed {
  const { session, seq } = envelope;
  const { open, closed } = splitEvent(withKeyedDigest(keys, session, event));
  if (closed === undefined) return { entry: frameEntry(formatEntry(envelope, open, undefined)) };
  const key = keyOf(keys, sealingSession({ session, event }), closed.key);
  const bytes = seal(closed.fields, { session, seq, key: closed.key }, key, nextNonce());
  return { sealed: frameSealed(session, bytes), entry: frameEntry(formatEntry(envelope, open, describeSealed(bytes, closed.key))) };
}

function withKeyedDigest(keys: SealingKeys, session: string, event: Event): Event {
  if (event.kind !== 'outcome' || event.digest === undefined) return event;
  return { ...event, digest: keyedDigest(event.digest, keyOf(keys, session, 'results')) };
}

function keyOf(keys: SealingKeys, session: string, key: 'content' | 'results'): Buffer {
  const found = keys.keyOf(session, key);
  if (found !== undefined) return found;
  throw unavailable(`the data keys of ${session === decisionsChain ? 'the relay' : `session ${session}`} are gone`);
}

/** Also where nothing is sealed yet: without keys there is no session. What a crash has left is closed without them. */
export function needsKey(event: Event): boolean {
  const { kind } = event;
  if (kind === 'outcome') return event.digest !== undefined || event.tags.length > namesMax;
  return kind === 'session.open' || kind === 'statement' || kind === 'hold' || kind === 'request' || kind === 'result';
}

export function unavailable(error: unknown): GateError {
  if (error instanceof GateError) return error;
  const reason = messageOf(error).replace(/^[A-Z0-9]+: /, '').replace(/, [a-z]+( '.*)?$/s, '');
  return new GateError('record-unavailable', `the record cannot be written: ${reason}`, {
    hint: 'Nothing runs unrecorded. Once the relay can write to its state directory again, it goes on by itself.',
    cause: error,
  });
}

/** Random bytes are asked for by the page: the call costs more than the bytes. Each is used once. */
const pool = Buffer.alloc(nonceBytes * 340);
let taken = pool.length;

function nextNonce(): Buffer {
  if (taken === pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += nonceBytes;
  return Buffer.from(pool.subarray(taken - nonceBytes, taken));
}
