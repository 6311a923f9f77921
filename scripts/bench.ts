/** Measures gate against the ways around it: direct, PgBouncer, and a bare tunnel of the same shape. See --help. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCase, type CaseResult } from './bench/cell.ts';
import { comparisons } from './bench/cases.ts';
import { Cleanup } from './bench/cleanup.ts';
import { program } from './bench/gate.ts';
import { currentLoad, describeMachine } from './bench/machine.ts';
import { readOptions, usage, type Options } from './bench/options.ts';
import { caseTable, machineText, writeSection } from './bench/report.ts';
import { openStage, type Stage } from './bench/stage.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function main(options: Options, cleanup: Cleanup): Promise<boolean> {
  const load = currentLoad();
  const stage = await openStage(cleanup, options, say);
  const machine = await describeMachine(stage, load);
  const results = await runCases(stage);
  say(`\n${machineText(machine)}\n\n${caseTable(results)}`);
  if (options.docsFile !== undefined) writeSection(options.docsFile, 'cases', `${machineText(machine)}\n\n${caseTable(results)}`);
  const json = `${JSON.stringify({ machine, cases: results }, null, 2)}\n`;
  if (options.jsonFile === '-') process.stdout.write(json);
  else if (options.jsonFile !== undefined) writeFileSync(options.jsonFile, json);
  return results.every(({ failure }) => failure === undefined);
}

async function runCases(stage: Stage): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  const { cases: wanted, rounds } = stage.options;
  for (const one of comparisons(stage).filter(({ name }) => wanted?.some((start) => name.startsWith(start)) ?? true)) {
    const start = performance.now();
    const result = await runCase(one, rounds);
    say(`${one.name}: ${result.failure ?? `${Object.entries(result.ratios).map(([way, ratio]) => `${ratio.toFixed(2)} x ${way}`).join(', ')}`} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    results.push(result);
  }
  return results;
}

const options = readOptions(process.argv.slice(2));
if (options === 'help') process.stdout.write(usage);
else if (!existsSync(join(program[1]))) throw new Error('build first: npm run build');
else {
  const cleanup = new Cleanup();
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) {
    process.once(signal, () => void cleanup.run().finally(() => process.exit(code)));
  }
  try {
    if (!(await main(options, cleanup))) process.exitCode = 1;
  } finally {
    await cleanup.run();
  }
}
