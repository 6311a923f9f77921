/** Writes docs/errors.md, docs/cli.md, docs/policy.schema.json and the text of `gate --help` from the code, so that they cannot be wrong; `--check` only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { extraCommands } from '../bin/program.ts';
import { createContext } from '../src/cli/context.ts';
import { createIo } from '../src/cli/io.ts';
import { createProgram } from '../src/cli/main.ts';
import { ERRORS } from '../src/errors/errors.ts';
import { policyJsonSchema } from '../src/policy/json-schema.ts';

const root = join(import.meta.dirname, '..');

function errorsPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { exit, sqlstate, http, close }]) => `| \`${code}\` | ${exit} | \`${sqlstate}\` | ${http} | ${close} |`,
  );
  return [
    '# Errors',
    '',
    'Every deliberate failure of gate has a code. The code is stable; the message may change. It is seen as the exit code of',
    'the CLI (and `error.code` under `--json`), as the SQLSTATE of a PostgreSQL error (with the code in the field R,',
    '"routine", and `gate` in F, "file"), as the HTTP status of the API (`{"error":{"code",…}}`), and as the close code of a',
    'tunnel.',
    '',
    '| code | exit | SQLSTATE | HTTP | close |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    'Exit codes: 0 done · 1 a bug · 2 usage or configuration · 3 denied by policy · 4 login needed · 5 approval denied or expired · 6 relay or network ·',
    '7 the record cannot be written or verified · 8 approval pending · 9 SQL error · 130 and 143 ended by a signal.',
    '',
  ].join('\n');
}

function commandPages(command: Command, path: string): string[] {
  const title = `## \`${path}\``;
  const help = command.helpInformation().replace(/\n+$/, '');
  const children = command.commands.flatMap((child) => (child.name() === 'help' ? [] : commandPages(child, `${path} ${child.name()}`)));
  return [title, '', '```', help, '```', '', ...children];
}

const context = createContext(createIo(process, { json: false }), { json: false }, () => new AbortController().signal);
const program = await createProgram(context, extraCommands);

function cliPage(): string {
  return ['# Command line', '', 'Made from `--help` by `npm run docs`.', '', ...commandPages(program, 'gate')].join('\n');
}

/** Apart from the program, so that showing it is not to load the program. */
function helpFile(): string {
  const duty = '/** What `gate --help` says where no terminal sets a width. Made by `npm run docs`. */';
  return `${duty}\nexport const helpText = \`${program.helpInformation().replaceAll(/[\\`$]/g, String.raw`\$&`)}\`;\n`;
}

const pages = {
  'docs/errors.md': errorsPage(),
  'docs/cli.md': cliPage(),
  'docs/policy.schema.json': `${JSON.stringify(policyJsonSchema(), null, 2)}\n`,
  'bin/help-text.ts': helpFile(),
};
let isCurrent = true;
for (const [file, text] of Object.entries(pages)) {
  const path = join(root, file);
  if (!process.argv.includes('--check')) writeFileSync(path, text);
  else if (readFileSync(path, 'utf8') !== text) {
    isCurrent = false;
    process.stderr.write(`${file} is not current: run npm run docs\n`);
  }
}
process.exitCode = isCurrent ? 0 : 1;
