/** gate completion: a script for the shell, and the answers that the script asks for. */
import { Argument, Command, Option } from 'commander';
import { complete, splitLine, type Completion } from '../completion.ts';
import { completionScripts, filesAnswer, shells, type Shell } from '../completion-scripts.ts';
import type { Context } from '../context.ts';
import { oneLine } from '../output.ts';

export function completionCommand(context: Context): Command {
  return new Command('completion')
    .summary('print a script that completes commands, flags and names in a shell')
    .description(
      'Prints a script for your shell. To load it:\n\n' +
        '  bash        source <(gate completion bash)\n' +
        '  zsh         source <(gate completion zsh)\n' +
        '  fish        gate completion fish | source\n' +
        '  powershell  gate completion powershell | Out-String | Invoke-Expression\n\n' +
        'Names of targets, roles and sessions are those that earlier commands have seen; completion asks no relay.',
    )
    .usage('[options] <shell>')
    .addArgument(new Argument('<shell>').choices(shells))
    .addArgument(new Argument('[words...]'))
    .addOption(new Option('--answer', 'what may stand at the end of these words').hideHelp())
    .action((shell: Shell, words: string[], { answer }: { answer?: boolean }, command: Command) =>
      answer === true ? runAnswer(context, shell, words, command) : context.io.write(completionScripts[shell]),
    );
}

/** One candidate a line, with a tab before its description; bash takes none. */
async function runAnswer(context: Context, shell: Shell, input: readonly string[], command: Command): Promise<void> {
  const [{ findCompletionPlace }, { loadNameCache }] = await Promise.all([
    import('../../client/config.ts'),
    import('../../client/name-cache.ts'),
  ]);
  const { directory, relay } = await findCompletionPlace();
  const isLine = shell === 'bash' || shell === 'powershell';
  const words = isLine ? splitLine(input[0] ?? '').slice(1) : input;
  const completion = complete(rootOf(command), words, { cache: loadNameCache(directory), relay });
  const breaks = shell === 'bash' ? (input[1] ?? '') : '';
  await context.io.write(formatAnswer(completion, shell, lengthBeforeBreak(words.at(-1) ?? '', breaks)));
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}

/** How much of the word at the cursor bash keeps: up to its last break character. */
function lengthBeforeBreak(word: string, breaks: string): number {
  return Math.max(0, ...[':', '='].filter((character) => breaks.includes(character)).map((character) => word.lastIndexOf(character) + 1));
}

function formatAnswer(completion: Completion, shell: Shell, kept: number): string {
  if (completion === 'files') return `${filesAnswer}\n`;
  return completion
    .map(({ value, description }) => {
      const word = value.slice(kept);
      return shell === 'bash' || description === '' ? `${word}\n` : `${word}\t${oneLine(description)}\n`;
    })
    .join('');
}
