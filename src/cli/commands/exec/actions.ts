/** Tells a job of GitHub Actions what became of an exec: a remark beside the log, and a part of the job's summary. */
import { readActions } from '../../config.ts';
import { messageOf } from '../../../errors/errors.ts';
import type { Io } from '../../io.ts';
import { failureSentence, formatSummary, summaryBytesMax, type Summary } from './summary.ts';

/** Never fails: what ran has run, whatever becomes of its summary. */
export async function reportToActions(io: Io, summary: Summary): Promise<void> {
  const { target, exitCode, failure } = summary;
  // Where the reader of stdout has gone, there is nothing to say (gate … | head).
  if (failure !== undefined && exitCode !== 141) {
    const isPending = exitCode === 8;
    io.annotate(isPending ? 'warning' : 'error', `gate exec ${target}: ${isPending ? 'approval pending' : 'failed'}`, failureSentence(failure));
  }
  const file = readActions()?.summaryFile;
  if (file === undefined) return;
  try {
    const { appendFile, stat } = await import('node:fs/promises');
    const taken = await stat(file).then(({ size }) => size, () => 0);
    const text = formatSummary(summary);
    if (taken + Buffer.byteLength(text) > summaryBytesMax) return io.warn('the summary of this step is full, so this run is missing in it');
    await appendFile(file, text);
  } catch (error) {
    io.warn(`the summary of this step could not be written (${messageOf(error)})`);
  }
}
