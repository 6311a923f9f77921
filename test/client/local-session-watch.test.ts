/** The watch over a session, on a clock that the test moves. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { SessionSummary } from '../../src/api/api.ts';
import { SessionWatch } from '../../src/client/session-watch.ts';
import type { TimedSession } from '../../src/client/session.ts';
import { GateError } from '../../src/errors/errors.ts';

const minute = 60_000;
let said: string[];
let answer: () => Promise<SessionSummary>;
let watch: SessionWatch | undefined;

beforeEach(() => {
  vi.useFakeTimers();
  [said, answer] = [[], async () => ({ state: 'open' }) as SessionSummary];
});
afterEach(() => {
  watch?.stop();
  vi.useRealTimers();
});

function watchFor(ms: number): SessionWatch {
  const session = { id: 's_1', expiresAt: new Date(Date.now() + ms).toISOString(), deadline: new Date(Date.now() + ms) } as TimedSession;
  watch = new SessionWatch({ session: () => answer() }, session, {
    onWarning: (seconds) => said.push(`${seconds} s left`),
    onEnd: (error) => said.push(`end: ${error.code}: ${error.message}`),
    onPollFailed: (error) => said.push(`failed: ${error.code}`),
    onPolled: () => said.push('polled'),
  });
  return watch;
}

const withoutPolls = () => said.filter((line) => line !== 'polled');

test('five minutes and one minute before the end, then the end itself, once', async () => {
  watchFor(7 * minute);
  await vi.advanceTimersByTimeAsync(2 * minute - 1000);
  expect(withoutPolls()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(withoutPolls()).toEqual(['300 s left']);
  await vi.advanceTimersByTimeAsync(5 * minute + 1000);
  expect(withoutPolls()).toEqual(['300 s left', '60 s left']);
  await vi.advanceTimersByTimeAsync(1000);
  expect(withoutPolls().at(-1)).toMatch(/^end: grant-expired/);
  await vi.advanceTimersByTimeAsync(10 * minute);
  expect(withoutPolls()).toHaveLength(3);
});

test('a grant shorter than a minute is not announced', async () => {
  watchFor(50_000);
  await vi.advanceTimersByTimeAsync(52_000);
  expect(withoutPolls()).toEqual([expect.stringMatching(/^end: grant-expired/)]);
});

test('a machine that slept over both warnings says one of them, one that slept over the end only that', async () => {
  watchFor(10 * minute);
  vi.setSystemTime(Date.now() + 9.5 * minute);
  await vi.advanceTimersByTimeAsync(1000);
  expect(withoutPolls()).toEqual(['29 s left']);
  vi.setSystemTime(Date.now() + 60 * minute);
  await vi.advanceTimersByTimeAsync(1000);
  expect(withoutPolls()).toEqual(['29 s left', expect.stringMatching(/^end: grant-expired/)]);
});

test('the relay is asked every 15 s; it may be away, and may say that the session has ended', async () => {
  watchFor(60 * minute);
  await vi.advanceTimersByTimeAsync(16_000);
  expect(said).toEqual(['polled']);
  answer = () => Promise.reject(new GateError('relay-unreachable', 'away'));
  await vi.advanceTimersByTimeAsync(16_000);
  expect(said).toEqual(['polled', 'failed: relay-unreachable']);
  answer = async () => ({ state: 'ended', endReason: 'ended by an operator' }) as SessionSummary;
  await vi.advanceTimersByTimeAsync(16_000);
  expect(said.slice(2)).toEqual(['end: session-ended: session s_1 has ended: ended by an operator']);
  await vi.advanceTimersByTimeAsync(minute);
  expect(said).toHaveLength(3);
});

test('a relay that lost its state does not know the session: that is an end too', async () => {
  watchFor(60 * minute);
  answer = () => Promise.reject(new GateError('not-found', 'there is no session'));
  await vi.advanceTimersByTimeAsync(16_000);
  expect(said).toEqual([expect.stringMatching(/^end: session-ended: .*does not know it any more$/)]);
});

test('a question that is pending is not asked again, and its answer after the stop is not heard', async () => {
  let asked = 0;
  let settle: (summary: SessionSummary) => void = () => undefined;
  answer = () => {
    asked += 1;
    return new Promise((resolve) => (settle = resolve));
  };
  const own = watchFor(60 * minute);
  await vi.advanceTimersByTimeAsync(5 * minute);
  expect(asked).toBe(1);
  own.stop();
  settle({ state: 'ended' } as SessionSummary);
  await vi.advanceTimersByTimeAsync(1000);
  expect(said).toEqual([]);
});
