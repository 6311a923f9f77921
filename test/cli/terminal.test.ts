/** CI, NO_COLOR and FORCE_COLOR: whether there are questions, spinners and colour, on a terminal and elsewhere. */
import { PassThrough } from 'node:stream';
import { Command } from 'commander';
import { afterEach, expect, test, vi } from 'vitest';
import { readTerminalWishes } from '../../src/cli/config.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import type { Context } from '../../src/cli/context.ts';
import { main } from '../../src/cli/main.ts';

afterEach(() => vi.unstubAllEnvs());

function streamsOf(isTTY: boolean) {
  const stderr = new PassThrough().setEncoding('utf8');
  let said = '';
  stderr.on('data', (chunk: string) => (said += chunk));
  const traits = { isTTY, columns: 80, hasColors: () => true, clearLine: () => true, cursorTo: () => true, moveCursor: () => true };
  const streams: unknown = { stdin: Object.assign(new PassThrough(), traits), stdout: Object.assign(new PassThrough(), traits), stderr: Object.assign(stderr, traits) };
  return { streams: streams as IoStreams, said: () => said };
}

test.each([
  // environment, on a terminal, questions, colour
  [{}, true, true, true],
  [{}, false, false, false],
  [{ CI: 'true' }, true, false, false],
  [{ CI: 'false' }, true, true, true],
  [{ CI: 'true', FORCE_COLOR: '1' }, true, false, true],
  [{ CI: 'true', FORCE_COLOR: '1' }, false, false, true],
  [{ FORCE_COLOR: '0' }, true, true, false],
  [{ NO_COLOR: '1' }, true, true, false],
  [{ NO_COLOR: '' }, true, true, true],
  [{ NO_COLOR: '1', FORCE_COLOR: '' }, true, true, true],
] as const)('%j, terminal %s', async (environment, isTTY, asks, hasColor) => {
  const { streams, said } = streamsOf(isTTY);
  const io = createIo(streams, { json: false, ...readTerminalWishes(environment) });
  expect(io.isInteractive).toBe(asks);
  expect((await io.colors()).red('x') !== 'x').toBe(hasColor);
  await io.withSpinner('waiting', () => new Promise((resolve) => setTimeout(resolve, 30)));
  expect(said() !== '').toBe(asks);
});

test('the program reads its own environment', async () => {
  const asked: boolean[] = [];
  const probe = ({ io }: Context) => new Command('probe').action(() => void asked.push(io.isInteractive));
  const run = () => main({
    argv: ['probe'],
    streams: streamsOf(true).streams,
    stopSignal: () => new AbortController().signal,
    extraCommands: [{ name: 'probe', summary: 'probe', load: () => Promise.resolve(probe) }],
  });
  vi.stubEnv('CI', undefined);
  expect(await run()).toBe(0);
  vi.stubEnv('CI', 'true');
  expect(await run()).toBe(0);
  expect(asked).toEqual([true, false]);
});
