/** What may stand at the cursor of a half-written gate command: from the tree of commands and remembered names. */
import type { Argument, Command, Option } from 'commander';
import type { NameCache, RelayNames } from '../client/name-cache.ts';

export type Candidate = { readonly value: string; readonly description: string };
/** `files` asks the shell for its own completion of file names. */
export type Completion = readonly Candidate[] | 'files';

export type CompletionNames = {
  readonly cache: NameCache;
  /** Of GATE_RELAY, where it is set. */
  readonly relay: string | undefined;
};

/** The words before the cursor, without the program's name, as far as they are understood. */
type Place = {
  readonly command: Command;
  readonly operands: readonly string[];
  /** Values given so far, by the option's long name. */
  readonly values: ReadonlyMap<string, string>;
  /** The option whose value comes next. */
  readonly pending: Option | undefined;
  /** After `--`, where another program's words begin. */
  readonly isForeign: boolean;
};

/** The last of `words` is the one at the cursor, perhaps empty; the program's name is not among them. */
export function complete(program: Command, words: readonly string[], names: CompletionNames): Completion {
  const current = words.at(-1) ?? '';
  const place = findPlace(program, words.slice(0, -1));
  if (place.isForeign) return [];
  const equals = current.indexOf('=');
  if (place.pending === undefined && current.startsWith('--') && equals !== -1) {
    const option = findOption(place.command, current.slice(0, equals));
    if (option === undefined) return [];
    const completion = completeValue(option, place, names);
    const head = current.slice(0, equals + 1);
    if (completion === 'files') return 'files';
    return startingWith(current, completion.map(({ value, description }) => ({ value: head + value, description })));
  }
  if (place.pending !== undefined) return filter(current, completeValue(place.pending, place, names));
  if (current.startsWith('-')) return startingWith(current, optionsOf(place.command));
  return filter(current, completeOperand(place, names));
}

function findPlace(program: Command, words: readonly string[]): Place {
  let command = program;
  let operands: string[] = [];
  let pending: Option | undefined;
  const values = new Map<string, string>();
  for (const word of words) {
    if (pending !== undefined) {
      values.set(pending.long ?? '', word);
      pending = undefined;
    } else if (word === '--') {
      return { command, operands, values, pending, isForeign: true };
    } else if (word.startsWith('-') && word !== '-') {
      const [name, value] = splitOnce(word);
      const option = findOption(command, name);
      if (option !== undefined && value !== undefined) values.set(option.long ?? '', value);
      else if (option?.required) pending = option;
    } else {
      const child = operands.length === 0 ? findCommand(command, word) : undefined;
      if (child === undefined) operands = [...operands, word];
      else command = child;
    }
  }
  return { command, operands, values, pending, isForeign: false };
}

function splitOnce(word: string): readonly [string, string | undefined] {
  const at = word.indexOf('=');
  return at === -1 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function findCommand(command: Command, name: string): Command | undefined {
  return command.commands.find((child) => child.name() === name || child.aliases().includes(name));
}

/** Options of the commands above count too, as they do when the line runs. */
function findOption(command: Command, name: string): Option | undefined {
  for (let owner: Command | null = command; owner !== null; owner = owner.parent) {
    const option = owner.options.find(({ short, long }) => short === name || long === name);
    if (option !== undefined) return option;
  }
  return undefined;
}

function optionsOf(command: Command): Candidate[] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)].map((option) => ({
    value: option.long ?? option.short ?? '',
    description: option.description,
  }));
}

function completeValue(option: Option, place: Place, names: CompletionNames): Completion {
  if (option.argChoices !== undefined) return plain(option.argChoices);
  if (option.long === '--relay') return plain(Object.keys(names.cache.relays));
  if (option.long === '--role') return plain(namesFor(place, names).targets[place.operands[0] ?? ''] ?? []);
  return /<(?:file|dir|directory|path)>/.test(option.flags) ? 'files' : [];
}

function completeOperand(place: Place, names: CompletionNames): Completion {
  const { command, operands } = place;
  const help = command.createHelp();
  const children = operands.length > 0 ? [] : help.visibleCommands(command).map((child) => ({
    value: child.name(),
    description: help.subcommandDescription(child),
  }));
  const argument = command.registeredArguments[operands.length] ?? command.registeredArguments.findLast(({ variadic }) => variadic);
  if (argument === undefined) return children;
  const own = completeArgument(argument, place, names);
  return own === 'files' ? 'files' : [...children, ...own];
}

function completeArgument(argument: Argument, place: Place, names: CompletionNames): Completion {
  if (argument.argChoices !== undefined) return plain(argument.argChoices);
  const { targets, sessions } = namesFor(place, names);
  switch (argument.name()) {
    case 'target':
    case 'targets':
      return Object.entries(targets)
        .filter(([name]) => !place.operands.includes(name))
        .map(([value, roles]) => ({ value, description: roles.length === 0 ? '' : `as ${roles.join(', ')}` }));
    case 'session':
      return plain(sessions);
    case 'file':
    case 'bundle':
    case 'directory':
      return 'files';
    default:
      return [];
  }
}

/** The relay that the line names, else the environment's, else the one that answered last. */
function namesFor({ values }: Place, { cache, relay }: CompletionNames): RelayNames {
  const url = values.get('--relay')?.replace(/\/+$/, '') ?? relay ?? cache.latest ?? '';
  return cache.relays[url] ?? { targets: {}, sessions: [] };
}

function plain(values: readonly string[]): Candidate[] {
  return values.map((value) => ({ value, description: '' }));
}

function filter(current: string, completion: Completion): Completion {
  return completion === 'files' ? 'files' : startingWith(current, completion);
}

function startingWith(current: string, candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(({ value }) => value !== '' && value.startsWith(current));
}

/**
 * A command line up to the cursor as words, for shells that hand over text: quotes and backslashes as in POSIX shells,
 * an open quote goes on to the end. The last word is empty after a blank.
 */
export function splitLine(line: string): string[] {
  const words = [''];
  let quote = '';
  for (let at = 0; at < line.length; at += 1) {
    const character = line[at] ?? '';
    const last = words.length - 1;
    if (quote !== '') {
      if (character === quote) quote = '';
      else words[last] += character === '\\' && quote === '"' ? (line[(at += 1)] ?? '') : character;
    } else if (character === '"' || character === "'") quote = character;
    else if (character === '\\') words[last] += line[(at += 1)] ?? '';
    else if (!/\s/.test(character)) words[last] += character;
    else if (words[last] !== '' || at === 0 || !/\s/.test(line[at - 1] ?? '')) words.push('');
  }
  return words[0] === '' ? words.slice(1) : words;
}
