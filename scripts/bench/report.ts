/** The results as tables in Markdown, and as sections of a page that each run replaces. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { CaseResult, WayResult } from './cell.ts';
import type { Machine } from './machine.ts';
import { figure, type Spread } from './statistics.ts';

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}

/** The median, and where there are several values how far they lie apart. */
export function spreadText(spread: Spread | undefined): string {
  if (spread === undefined || Number.isNaN(spread.median)) return '-';
  const { median, min, max } = spread;
  return min === max ? figure(median) : `${figure(median)} (${figure(min)} to ${figure(max)})`;
}

export function machineText(machine: Machine): string {
  const { versions, loadAtStart } = machine;
  return [
    `- ${machine.date}, ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGigabytes} GiB, Linux ${machine.kernel}, record on ${machine.fileSystem}`,
    `- ${Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', ')}`,
    `- load average before the start: ${loadAtStart.join(', ')}`,
  ].join('\n');
}

const others = ['direct', 'direct, same mask', 'floor', 'PgBouncer'] as const;

/** One row for each case and figure. Ratios are of medians: more than 1 means that gate has more of it. */
export function caseTable(results: readonly CaseResult[]): string {
  const ways = [...new Set(results.flatMap((result) => result.ways.map(({ way }) => way)))];
  const known = others.filter((name) => ways.includes(name));
  const rows = results.flatMap((result) =>
    result.figures.map((one, index) => [
      index === 0 ? result.title : '',
      one.unit,
      ...ways.map((name) => spreadText(find(result.ways, name)?.spreads[one.key])),
      ...known.map((name) => ratioText(result, one.key, name)),
      index === 0 ? loadText(result) : '',
    ]),
  );
  const head = ['case', 'unit', ...ways, ...known.map((name) => `gate x ${name}`), 'load'];
  const missing = ways.includes('PgBouncer') ? [] : ['', 'PgBouncer was not installed: its column and its ratio are left out.'];
  const failures = results.flatMap(({ name, failure }) => (failure === undefined ? [] : [`- **${name} failed**: ${failure}`]));
  return [table(head, rows), ...missing, ...(failures.length > 0 ? ['', ...failures] : [])].join('\n');
}

function find(ways: readonly WayResult[], name: string): WayResult | undefined {
  return ways.find(({ way }) => way === name);
}

/** Where gate is measured at several levels of durability, one ratio for each, in the order of their columns. */
function ratioText({ ways }: CaseResult, key: string, name: string): string {
  const other = find(ways, name)?.spreads[key]?.median;
  const own = ways.filter(({ way }) => way.startsWith('gate')).flatMap(({ spreads }) => spreads[key]?.median ?? []);
  return other === undefined || own.length === 0 ? '-' : own.map((value) => figure(value / other)).join(' / ');
}

function loadText({ load }: CaseResult): string {
  return `${figure(load.before)} → ${figure(load.during.max)}`;
}

const introduction = `# Benchmarks

Written by \`npm run bench\` (\`-- --all\` for every section): all figures are of the run that the section names. The ways are run
in turns, A B C A B C, and a cell is the median of the rounds, with the least and the most in brackets. Only ratios within one
row mean anything on another machine. "Floor" is a bare WebSocket tunnel of two processes of the same shape, with the \`ws\` package
and without any inspection; "gate" parses, decides by a policy with rules, records with fdatasync before it forwards, and masks
where the case says so; "gate, os" and "gate, before-result" do the same at these levels of durability, and a cell of ratios then has one
for each, in the order of the columns. CPU is that of the process itself, threads included, from the kernel's scheduler.
`;

/** Puts a section in the place of the one that was there, and leaves the others as they are. */
export function writeSection(file: string, name: string, text: string): void {
  const begin = `<!-- begin ${name} -->`;
  const end = `<!-- end ${name} -->`;
  const section = `${begin}\n${text.trim()}\n${end}`;
  const page = existsSync(file) ? readFileSync(file, 'utf8') : introduction;
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  const rest = from === -1 || to === -1 ? `${page.trimEnd()}\n\n${section}\n` : `${page.slice(0, from)}${section}${page.slice(to + end.length)}`;
  writeFileSync(file, rest);
}
