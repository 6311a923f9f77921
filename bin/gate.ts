#!/usr/bin/env node
/** The program: picks the rooms, and is the only one to end the process. */
import { version } from '../package.json';

if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  process.stdout.write(`${version}\n`);
} else {
  void run();
}

async function run(): Promise<void> {
  const [{ main }, { relayCommand }, { witnessCommand }, { devCommand }] = await Promise.all([
    import('../src/cli/main.ts'),
    import('../src/relay/command.ts'),
    import('../src/witness/command.ts'),
    import('../src/dev/command.ts'),
  ]);
  // A reader that went away (gate … | head) is met where the write fails; here it must only not be a crash.
  process.stdout.on('error', () => undefined);
  process.exitCode = await main({
    argv: process.argv.slice(2),
    streams: process,
    extraCommands: [relayCommand, witnessCommand, devCommand],
    stopSignal,
  });
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
