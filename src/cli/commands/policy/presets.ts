/** gate policy presets: the roles that come with gate, as YAML to read, use or copy. */
import { Command } from 'commander';
import { GateError } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import { formatTable } from '../../output.ts';

export function presetsCommand(context: Context): Command {
  return new Command('presets')
    .summary('list the roles that come with gate, or show one')
    .description('A preset is an ordinary role. Take it with  preset: <name>, and let fields of your own replace its.')
    .argument('[name]')
    .action((name: string | undefined) => runPolicyPresets(context, name));
}

/** Under `--json` one line, {"presets":[{"name","description","yaml"}]}. */
export async function runPolicyPresets({ io }: Context, name: string | undefined): Promise<void> {
  const { presetTexts } = await import('../../../policy/presets.ts');
  const all = [...presetTexts].map(([key, yaml]) => ({
    name: key,
    description: /^# (.*)/.exec(yaml)?.[1] ?? '',
    yaml,
  }));
  const presets = all.filter((preset) => name === undefined || preset.name === name);
  if (presets.length === 0) {
    throw new GateError('usage', `there is no preset "${name}"`, { hint: `There are: ${all.map((preset) => preset.name).join(', ')}.` });
  }
  if (io.json) return io.writeJson({ presets });
  if (name === undefined) return io.write(formatTable(['PRESET', 'WHAT IT IS'], presets.map((preset) => [preset.name, preset.description])));
  await io.write(presets[0]?.yaml ?? '');
}
