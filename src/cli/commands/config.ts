/** gate config: the settings in force, and where each comes from. */
import { Command } from 'commander';
import type { Setting } from '../../client/config.ts';
import type { Context } from '../context.ts';
import { formatTable } from '../output.ts';

export function configCommand(context: Context): Command {
  return new Command('config').summary('the settings in force').addCommand(
    new Command('list')
      .summary('list the settings in force')
      .option('--show-origin', 'with the flag, variable or file that each comes from')
      .action(({ showOrigin }: { showOrigin?: boolean }) => runConfigList(context, showOrigin === true)),
  );
}

/** Under `--json` one line, `{"settings":[{name, value, origin, source}]}`; a token is never shown, only that it is set. */
export async function runConfigList(context: Context, isOriginWanted: boolean): Promise<void> {
  const { io } = context;
  const { settings = [] } = await context.config();
  if (io.json) {
    return io.writeJson({
      settings: settings.map(({ name, value = null, origin, source = null }) => ({ name, value, origin, source })),
    });
  }
  const rows = settings.map((setting) => [setting.name, setting.value ?? '-', ...(isOriginWanted ? [describeOrigin(setting)] : [])]);
  await io.write(formatTable(['SETTING', 'VALUE', ...(isOriginWanted ? ['ORIGIN'] : [])], rows));
}

export function describeOrigin({ origin, source }: Setting): string {
  switch (origin) {
    case 'flag':
    case 'environment':
      return source ?? origin;
    case 'project-file':
      return `project file ${source}`;
    case 'user-file':
      return `your file ${source}`;
    case 'default':
      return 'default';
  }
}
