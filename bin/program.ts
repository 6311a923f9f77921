/** The rooms of the program put together, and how its process begins and ends. */
import type { CommandEntry } from '../src/cli/command-table.ts';
import { main } from '../src/cli/main.ts';

/** Commands of rooms that the CLI may not import. */
export const extraCommands: readonly CommandEntry[] = [
  {
    name: 'relay',
    usage: '[options]',
    summary: 'run the relay (the service)',
    load: async () => (await import('../src/relay/command.ts')).relayCommand,
  },
  {
    name: 'witness',
    usage: '[options]',
    summary: 'run a witness, which cosigns the checkpoints of relays',
    load: async () => (await import('../src/witness/command.ts')).witnessCommand,
  },
  {
    name: 'dev',
    usage: '[options]',
    summary: 'run everything on this machine: OIDC provider, relay, demo PostgreSQL',
    load: async () => (await import('../src/dev/command.ts')).devCommand,
  },
];

export async function run(): Promise<void> {
  // A reader that went away (gate … | head) is met where the write fails; here it must only not be a crash.
  process.stdout.on('error', () => undefined);
  process.exitCode = await main({ argv: process.argv.slice(2), streams: process, extraCommands, stopSignal });
}

let stopping: AbortSignal | undefined;

/** One for the whole run. A closed terminal (SIGHUP) is a request to end like SIGTERM, unless `onHangup` takes it. */
function stopSignal(onHangup?: () => void): AbortSignal {
  if (stopping !== undefined) return stopping;
  const controller = new AbortController();
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (signal === 'SIGHUP' && onHangup !== undefined) return onHangup();
      // The second time the user means it.
      if (controller.signal.aborted) process.exit(codes[signal]);
      controller.abort(signal);
    });
  }
  return (stopping = controller.signal);
}
