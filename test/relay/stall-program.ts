/** The relay as a process of its own that says over IPC how long its event loop stood still at the longest. */
import { closeSync, openSync, readSync } from 'node:fs';

// Nanoseconds that the main thread has had a processor (proc_pid_schedstat(5)); stays true on a machine that is busy.
const schedule = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
process.once('exit', () => closeSync(schedule));
const buffer = Buffer.alloc(128);
const onProcessor = (): number => Number(buffer.toString('latin1', 0, readSync(schedule, buffer, 0, 128, 0)).split(' ')[0]) / 1e6;

let last = { processor: onProcessor(), wall: performance.now() };
let most = { processorMs: 0, wallMs: 0 };
setInterval(() => {
  const now = { processor: onProcessor(), wall: performance.now() };
  most = { processorMs: Math.max(most.processorMs, now.processor - last.processor), wallMs: Math.max(most.wallMs, now.wall - last.wall) };
  last = now;
}, 1).unref();

process.on('message', () => {
  process.send?.(most);
  most = { processorMs: 0, wallMs: 0 };
});
process.channel?.unref();

await import('./relay-program.ts');
