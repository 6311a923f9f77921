/** Work that a signal ends at once, whatever it waits for. */
import { exitOfSignal } from './exit-code.ts';

/** A write or a read that hangs must not hold up the end. */
export async function untilStopped(work: Promise<void>, stop: AbortSignal): Promise<void> {
  // What the work meets after the end, an aborted sleep for example, is of no interest.
  work.catch(() => undefined);
  const finished = new AbortController();
  const stopped = new Promise<never>((_, reject) => {
    const onStop = () => reject(exitOfSignal(stop.reason));
    stop.addEventListener('abort', onStop, { signal: finished.signal });
    if (stop.aborted) onStop();
  });
  try {
    await Promise.race([stopped, work]);
  } finally {
    finished.abort();
  }
}
