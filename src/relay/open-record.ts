/** The record of a relay: the log in its state directory, and what is done with the log's checkpoints. */
import { join } from 'node:path';
import { version } from '../../package.json';
import { decisionsChain } from '../audit/entry.ts';
import type { LogSecrets } from '../store/log-secrets.ts';
import { finishRotation } from '../store/rotate-key.ts';
import { openLog, type Log } from '../store/log.ts';
import { CheckpointPush } from './checkpoint-push.ts';
import type { RecordConfig } from './record-config.ts';
import type { RelayLog } from './relay-log.ts';
import { WitnessClient } from './witness-client.ts';

export type OpenRecord = {
  readonly recorder: Log;
  readonly witnesses: WitnessClient;
  /** Records the end, publishes the last checkpoint, and lets go of the files. */
  close(): Promise<void>;
};

/** The start is an entry before anything else is. */
export async function openRecord(statePath: string, secrets: LogSecrets, record: RecordConfig, log: RelayLog): Promise<OpenRecord> {
  const directory = join(statePath, 'log');
  await finishRotation(directory, secrets.key);
  const recorder = await openLog(directory, { secrets, reserveBytes: record.reserveBytes });
  try {
    await recorder.record(decisionsChain, [{ kind: 'relay.start', relayVersion: version, after: recorder.after }]);
    await recorder.publish();
  } catch (error) {
    await recorder.close();
    throw error;
  }
  const { publisher } = recorder;
  const witnesses = new WitnessClient({ directory, witnesses: record.witnesses, publisher, log });
  const pushes = new CheckpointPush(record.checkpoints, publisher, log);
  return {
    recorder,
    witnesses,
    close: async () => {
      await recorder.record(decisionsChain, [{ kind: 'relay.stop' }]).catch(() => undefined);
      await recorder.publish().catch(() => undefined);
      await Promise.all([witnesses.stop(), pushes.stop()]);
      await recorder.close();
    },
  };
}
