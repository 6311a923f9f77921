/** The rules of the house (ARCHITECTURE.md, "Rooms"), held against every file. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

/** A file imports its own room and lower floors. */
const floors: Readonly<Record<string, number>> = {
  cli: 6, dev: 6,
  relay: 5, client: 5, witness: 5,
  oidc: 4, store: 4, tunnel: 4,
  policy: 3,
  api: 2, grant: 2, mask: 2, workload: 2,
  pgwire: 1, sql: 1, audit: 1, yaml: 1,
  errors: 0, principal: 0,
};
const isPure = (room: string) => (floors[room] ?? 9) <= 3;

type Source = { readonly path: string; readonly room: string; readonly text: string; readonly code: string };

const sources: readonly Source[] = listFiles(join(root, 'src')).map((file) => {
  const path = relative(root, file);
  const text = readFileSync(file, 'utf8');
  return { path, room: path.split('/')[1] ?? '', text, code: withoutComments(text) };
});

test('there is something to hold the rules against', () => {
  expect(sources.length).toBeGreaterThan(60);
});

test.each(sources)('$path stands in a room and opens with its duty', ({ path, room, text }) => {
  expect(Object.keys(floors)).toContain(room);
  expect(text).toMatch(/^(?:#!.*\n)?\/\*\*[^]{20,}?\*\//);
  expect(basename(path)).not.toMatch(/^(?:index|utils?|helpers?|common|manager|handlers?)\.ts$/);
});

test.each(sources)('$path imports only its own room and lower floors', ({ path, room, code }) => {
  for (const specifier of importsOf(code)) {
    if (!specifier.startsWith('.')) continue;
    const target = relative(root, join(root, dirname(path), specifier));
    if (target === 'package.json') continue;
    const other = target.split('/')[1] ?? '';
    expect(target, `${path} imports ${specifier}`).toMatch(/^src\/.*\.ts$/);
    if (other !== room) expect([`${path} → ${other}`, floors[other] as number]).toEqual([`${path} → ${other}`, expect.toSatisfy((floor: number) => floor < (floors[room] as number))]);
  }
});

describe('pure rooms', () => {
  const impure = [
    /from 'node:(?:net|tls|fs|fs\/promises|http|https|dns|child_process|worker_threads|timers|timers\/promises|os|process)'/,
    /\bprocess\./,
    /\bDate\.now\(|\bnew Date\(\)|\bperformance\./,
    /\bset(?:Timeout|Interval|Immediate)\(/,
    /\bMath\.random\(|\brandomBytes\(|\brandomUUID\(/,
    /\bconsole\./,
  ];
  test.each(sources.filter(({ room }) => isPure(room)))('$path takes time, randomness and bytes as arguments', ({ code }) => {
    for (const pattern of impure) expect(code).not.toMatch(pattern);
  });
});

test.each(sources)('$path leaves the terminal, the environment and the end of the process to their doors', ({ path, code }) => {
  expect(code).not.toMatch(/\bprocess\.exit\b|\bprocess\.exitCode\b/);
  expect(code).not.toMatch(/\bconsole\./);
  if (path !== 'src/cli/io.ts') {
    expect(code).not.toMatch(/process\.(?:stdout|stderr)\b/);
    expect(code).not.toMatch(/(?:from|import\() ?'(?:chalk|ora)'/);
  }
  if (basename(path) !== 'config.ts') expect(code).not.toMatch(/process\.env\b/);
});

test('no file is longer than 400 lines', () => {
  const long = sources.filter(({ text }) => text.split('\n').length > 401).map(({ path }) => path);
  expect(long).toEqual([]);
});

test('no import cycle, types included', () => {
  const graph = new Map(
    sources.map(({ path, code }) => [
      path,
      importsOf(code).filter((specifier) => specifier.startsWith('.')).map((specifier) => relative(root, join(root, dirname(path), specifier))),
    ]),
  );
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) throw new Error(`import cycle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`);
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

test('what gate --help loads is Node, commander and little else', () => {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const loaded = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const specifier of valueImportsOf(byPath.get(path)?.text ?? '')) {
      if (specifier.startsWith('.')) visit(relative(root, join(root, dirname(path), specifier)));
      else if (!specifier.startsWith('node:')) packages.add(specifier);
    }
  };
  visit('src/cli/main.ts');
  expect([...packages]).toEqual(['commander']);
  expect([...loaded].filter((path) => /src\/(?:cli\/commands|api|audit|policy\/policy|sql|pgwire|store|oidc|tunnel|yaml)\b/.test(path))).toEqual([]);
});

test('ARCHITECTURE.md names every room, and every room exists', () => {
  const architecture = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');
  const rooms = readdirSync(join(root, 'src'));
  expect(rooms.toSorted()).toEqual(Object.keys(floors).toSorted());
  for (const room of rooms) expect(architecture).toContain(`\`${room}\``);
});

test('docs/errors.md and the table of errors agree both ways', async () => {
  const { ERRORS } = await import('../src/errors/errors.ts');
  const documented = readFileSync(join(root, 'docs/errors.md'), 'utf8')
    .split('\n')
    .flatMap((line) => /^\| `([a-z-]+)` \| (\d+) \| `(\w{5})` \| (\d+) \| (\d+) \|/.exec(line)?.slice(1, 6).join(' ') ?? []);
  const actual = Object.entries(ERRORS).map(([code, { exit, sqlstate, http, close }]) => `${code} ${exit} ${sqlstate} ${http} ${close}`);
  expect(documented).toEqual(actual);
});

test('every error code is raised somewhere', async () => {
  const { ERRORS } = await import('../src/errors/errors.ts');
  const others = sources.filter(({ path }) => path !== 'src/errors/errors.ts');
  const unused = Object.keys(ERRORS).filter((code) => !others.some(({ text }) => text.includes(`'${code}'`)));
  expect(unused).toEqual([]);
});

function listFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? listFiles(path) : entry.name.endsWith('.ts') ? [path] : [];
  });
}

/** Static imports of values; those of types and those made at run time load nothing at the start. */
function valueImportsOf(text: string): string[] {
  const statements = withoutComments(text).matchAll(/^(?:import|export)\s(?!type\s)([^;]*?)from '([^']+)'/gm);
  return [...statements]
    .filter(([, names = '']) => !/^\{(?:\s*type\s[^,}]+,?)+\s*\}\s*$/.test(names.trim()))
    .map(([, , specifier]) => specifier as string);
}

function importsOf(code: string): string[] {
  return [...code.matchAll(/(?:from|import\() ?'([^']+)'/g)].map(([, specifier]) => specifier as string);
}

/** Comments may speak of what code may not do. Good enough for this code base: no `//` stands inside its strings but in URLs. */
function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[^]*?\*\//g, '').replaceAll(/(^|[^:'"`/])\/\/.*$/gm, '$1');
}
