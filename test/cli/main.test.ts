/** How a command line ends: the exit code where a signal came between. */
import { PassThrough } from 'node:stream';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { helpText } from '../../bin/help-text.ts';
import { extraCommands } from '../../bin/program.ts';
import type { CommandEntry } from '../../src/cli/command-table.ts';
import type { IoStreams } from '../../src/cli/io.ts';
import { commandTable, isNamed, placeholderOf } from '../../src/cli/command-table.ts';
import { createContext, type Context } from '../../src/cli/context.ts';
import { createIo } from '../../src/cli/io.ts';
import { createProgram, main } from '../../src/cli/main.ts';
import { GateError } from '../../src/errors/errors.ts';

/** A PassThrough is what a piped stdin, stdout and stderr are to the commands. */
function areStreams(value: unknown): value is IoStreams {
  return typeof value === 'object';
}

async function endOf(failure: Error, reason?: string): Promise<{ exitCode: number; words: string }> {
  const stderr = new PassThrough();
  const streams: unknown = { stdin: new PassThrough(), stdout: new PassThrough(), stderr };
  if (!areStreams(streams)) throw new Error('no streams');
  const controller = new AbortController();
  const fail = (): Command =>
    new Command('fail').action(() => {
      if (reason !== undefined) controller.abort(reason);
      throw failure;
    });
  const failing: CommandEntry = { name: 'fail', summary: 'fail', load: () => Promise.resolve(fail) };
  const exitCode = await main({ argv: ['fail'], streams, extraCommands: [failing], stopSignal: () => controller.signal });
  return { exitCode, words: String(stderr.read()) };
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  [undefined, 4],
])('a command that fails after %s exits with %i and says why', async (reason, exitCode) => {
  const end = await endOf(new GateError('login-failed', 'the login was cancelled'), reason);
  expect(end).toEqual({ exitCode, words: 'gate: the login was cancelled\n' });
});

test('names in a refusal do not reach the terminal as commands', async () => {
  const { words } = await endOf(new GateError('denied', 'request r_1 of \u001b]0;x\u0007 \u202eann\nnext', { hint: 'ask \u009b2J' }));
  expect(words).toBe('gate: request r_1 of \\x1b]0;x\\x07 \\u{202e}ann\nnext\n  ask \\x9b2J\n');
});

test.each([['sessions', 'show'], ['targets', '--bogus'], ['sessions', 'bogus'], ['bogus'], ['completion', 'nosuch']])(
  'under --json a usage error of %s %s is one object, and nothing else is said',
  async (...words) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const streams: unknown = { stdin: new PassThrough(), stdout, stderr };
    if (!areStreams(streams)) throw new Error('no streams');
    const exitCode = await main({ argv: [...words, '--json'], streams, extraCommands: [], stopSignal: () => new AbortController().signal });
    expect(exitCode).toBe(2);
    expect(JSON.parse(String(stderr.read()))).toMatchObject({ error: { code: 'usage' } });
    expect(stdout.read()).toBeNull();
  },
);

test('a bug is one also after Ctrl-C', async () => {
  expect(await endOf(new Error('a bug'), 'SIGINT')).toMatchObject({ exitCode: 1, words: expect.stringContaining('report it') });
});

describe('the list of commands', () => {
  test.each([...commandTable, ...extraCommands])('gate $name is listed as its own file has it', async (entry) => {
    const command = (await entry.load())(context());
    const placeholder = placeholderOf(entry);
    const help = command.createHelp();
    expect(help.subcommandTerm(placeholder)).toBe(help.subcommandTerm(command));
    expect(help.subcommandDescription(placeholder)).toBe(help.subcommandDescription(command));
    expect(command.aliases()).toEqual([]);
  });

  test.each([
    ['exec --help', ['exec']],
    ['help exec', ['exec']],
    ['--relay status exec shop', ['status', 'exec']],
    ['relay check', ['relay']],
    ['--help', []],
    ['exce shop', []],
    ['completion bash --answer -- gate\\ "connect" 7', ['connect', 'completion']],
  ])('gate %s loads %j', (line, names) => {
    expect([...commandTable, ...extraCommands].filter((entry) => isNamed(entry, line.split(' '))).map(({ name }) => name)).toEqual(names);
  });

  test('what bin/help-text.ts holds is what the program would say', async () => {
    expect(helpText).toBe((await createProgram(context(), extraCommands, () => false)).helpInformation());
  });
});

function context(): Context {
  return createContext(createIo(process, { json: false }), { json: false }, () => new AbortController().signal);
}
