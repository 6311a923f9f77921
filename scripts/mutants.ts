/** Breaks the analyser of masks in one place at a time, and has the two-worlds tests find each: npx tsx scripts/mutants.ts [name …]. */
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mutants, type Mutant } from './mutants-list.ts';

const root = join(import.meta.dirname, '..');
/** In the order in which they are asked; the first that fails has found the mutant. */
const suites = ['test/relay/masks-fuzz.test.ts', 'test/relay/masks-closed.test.ts', 'test/relay/masks.test.ts', 'test/relay/masks-catalogue.test.ts', 'test/mask'];

const chosen = process.argv.slice(2);
const list = chosen.length === 0 ? mutants : mutants.filter(({ name }) => chosen.includes(name));
const copy = await mkdtemp(join(tmpdir(), 'gate-mutants-'));
let missed = 0;
try {
  for (const part of ['src', 'test', 'bin', 'scripts', 'package.json', 'tsconfig.json']) await cp(join(root, part), join(copy, part), { recursive: true });
  for (const part of ['node_modules', 'dist']) await symlink(join(root, part), join(copy, part));
  for (const mutant of list) {
    const found = await tryMutant(mutant);
    if (found === undefined) missed += 1;
    process.stdout.write(`${found === undefined ? 'MISSED' : 'caught'}\t${mutant.name}\t${found ?? ''}\n`);
  }
} finally {
  await rm(copy, { recursive: true, force: true });
}
process.stdout.write(`${list.length - missed} of ${list.length} caught\n`);
process.exitCode = missed === 0 && list.length > 0 ? 0 : 1;

/** Answers the suite that fails. */
async function tryMutant({ name, changes }: Mutant): Promise<string | undefined> {
  const kept = new Map<string, string>();
  try {
    for (const { file, from, to } of changes) {
      const path = join(copy, 'src', file);
      const before = await readFile(path, 'utf8');
      if (!kept.has(path)) kept.set(path, before);
      if (before.split(from).length !== 2) throw new Error(`${name}: "${from}" is not there once in src/${file}`);
      await writeFile(path, before.replace(from, () => to));
    }
    for (const suite of suites) if (!(await passes(suite))) return suite;
    return undefined;
  } finally {
    for (const [path, text] of kept) await writeFile(path, text);
  }
}

async function passes(suite: string): Promise<boolean> {
  const args = ['vitest', 'run', '--config', 'test/vitest.config.ts', '--project', 'gate', '--bail', '1', suite];
  const child = spawn('npx', args, { cwd: copy, stdio: 'ignore' });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code === 0));
  });
}
