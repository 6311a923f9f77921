/** `gate dev` alone, as the program would run it; its relay is the stand-in. */
import { Command } from 'commander';
import { createContext } from '../../src/cli/context.ts';
import { createIo } from '../../src/cli/io.ts';
import { devCommand } from '../../src/dev/command.ts';

if (process.argv[2] === 'relay') {
  await import('./stand-in-relay.ts');
} else {
  const controller = new AbortController();
  const stopSignal = (): AbortSignal => {
    process.on('SIGINT', () => controller.abort('SIGINT'));
    return controller.signal;
  };
  const json = process.argv.includes('--json');
  const context = createContext(createIo(process, { json }), { json }, stopSignal);
  await new Command('gate').option('--json').addCommand(devCommand(context)).parseAsync();
}
