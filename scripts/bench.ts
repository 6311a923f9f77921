/** Measures gate against the ways around it: direct, PgBouncer, and a bare tunnel of the same shape. See --help. */
import { existsSync, writeFileSync } from 'node:fs';
import { measureBackpressure } from './bench/backpressure.ts';
import { comparisons, warmUp } from './bench/cases.ts';
import { runCase, type Case, type CaseResult } from './bench/cell.ts';
import { Cleanup } from './bench/cleanup.ts';
import { measureCurves } from './bench/curves.ts';
import { program } from './bench/gate.ts';
import { measureIdle } from './bench/idle.ts';
import { currentLoad, describeMachine } from './bench/machine.ts';
import { measureMicro } from './bench/micro.ts';
import { readOptions, usage, type Options } from './bench/options.ts';
import { caseTable, machineText, writeSection } from './bench/report.ts';
import { backpressureText, curveText, idleTable, microTable, startTable } from './bench/sections.ts';
import { openStage, type Stage } from './bench/stage.ts';
import { startTimes } from './bench/start-times.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

type Report = {
  readonly figures: Record<string, unknown>;
  readonly failures: string[];
  add(name: string, heading: string, text: string, figures: unknown): void;
};

async function main(options: Options, cleanup: Cleanup): Promise<boolean> {
  const load = currentLoad();
  const stage = await openStage(cleanup, options, say);
  const machine = await describeMachine(stage, load);
  const { rounds, docsFile, jsonFile, parts } = options;
  const report: Report = {
    figures: { machine, options: { rounds, seconds: options.seconds, megabytes: options.megabytes } },
    failures: [],
    add(name, heading, text, figures) {
      this.figures[name] = figures;
      const section = `## ${heading}\n\n${machineText(machine)}\n- ${rounds} rounds\n\n${text}`;
      say(`\n${section}\n`);
      if (docsFile !== undefined) writeSection(docsFile, name, section);
    },
  };
  if (parts.has('cases')) await compare(stage, report);
  if (parts.has('curves')) {
    const curves = await measureCurves(stage, say);
    report.failures.push(...curves.flatMap(({ name, failure }) => (failure === undefined ? [] : [name])));
    report.add('curves', 'Costs that must not grow', curveText(curves, docsFile), curves);
  }
  if (parts.has('backpressure')) {
    const found = await measureBackpressure(stage, say);
    report.failures.push(...found.flatMap(({ name, failure }) => (failure === undefined ? [] : [name])));
    report.add('backpressure', 'Backpressure', backpressureText(found), found);
  }
  const json = `${JSON.stringify(report.figures, null, 2)}\n`;
  if (jsonFile === '-') process.stdout.write(json);
  else if (jsonFile !== undefined) writeFileSync(jsonFile, json);
  if (report.failures.length > 0) say(`failed: ${report.failures.join(', ')}`);
  return report.failures.length === 0;
}

async function compare(stage: Stage, report: Report): Promise<void> {
  const { cases: wanted } = stage.options;
  const isWanted = (name: string): boolean => wanted?.some((start) => name.startsWith(start)) ?? true;
  const ways = comparisons(stage).filter(({ name }) => isWanted(name));
  if (ways.length > 0) {
    say('warming up');
    await warmUp(stage);
    const results = await runCases(stage, ways);
    report.failures.push(...failed(results));
    report.add('cases', 'Ways to the same server', caseTable(results), results);
  }
  const starts = (await startTimes(stage)).filter(({ name }) => isWanted(name));
  if (starts.length > 0) {
    const results = await runCases(stage, starts);
    report.failures.push(...failed(results));
    report.add('starts', 'Start times', startTable(results), results);
  }
  if (isWanted('idle')) await attempt('idle', report, async () => {
    const idle = await measureIdle(stage);
    report.add('idle', 'Memory of idle tunnels and sessions', idleTable(idle), idle);
  });
  if (isWanted('micro')) await attempt('micro', report, async () => {
    const steps = await measureMicro(stage);
    report.add('micro', 'Single steps', microTable(steps), steps);
  });
}

async function attempt(name: string, report: Report, part: () => Promise<void>): Promise<void> {
  try {
    await part();
  } catch (error) {
    say(`${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    report.failures.push(name);
  }
}

function failed(results: readonly CaseResult[]): string[] {
  return results.flatMap(({ name, failure }) => (failure === undefined ? [] : [name]));
}

async function runCases({ options, cleanup }: Stage, cases: readonly Case[]): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  for (const one of cases) {
    const start = performance.now();
    const result = await runCase(one, options.rounds);
    if (cleanup.isOver) throw new Error('stopped');
    const ratios = Object.entries(result.ratios).map(([way, ratio]) => `${ratio.toFixed(2)} x ${way}`);
    say(`${one.name}: ${result.failure ?? ratios.join(', ')} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    results.push(result);
  }
  return results;
}

async function runProgram(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') return void process.stdout.write(usage);
  if (!existsSync(program[1])) throw new Error('build first: npm run build');
  const cleanup = new Cleanup();
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void cleanup.run().finally(() => process.exit(codes[signal])));
  }
  try {
    if (!(await main(options, cleanup))) process.exitCode = 1;
  } catch (error) {
    // What fails because everything is being stopped is no news.
    if (!cleanup.isOver) throw error;
  } finally {
    await cleanup.run();
  }
}

await runProgram();
