/** What a run has found besides the comparison of ways, as Markdown: starts, memory, single steps, curves, backpressure. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { BackpressureResult } from './backpressure.ts';
import type { CaseResult } from './cell.ts';
import type { CurveResult } from './curves.ts';
import type { IdleResult } from './idle.ts';
import type { MicroResult } from './micro.ts';
import { spreadText, table } from './report.ts';
import { figure } from './statistics.ts';
import { curveSvg } from './svg.ts';

/** `gate` against an empty Node in the same run. */
export function startTable(results: readonly CaseResult[]): string {
  const rows = results.map(({ title, ways, ratios, failure }) => [
    title,
    ...ways.map(({ spreads }) => spreadText(spreads['milliseconds'])),
    failure === undefined ? figure(ratios['empty Node'] ?? Number.NaN) : `**failed**: ${failure}`,
  ]);
  return table(['command', 'empty Node, ms', 'gate, ms', 'x empty Node'], rows);
}

export function idleTable({ wanted, tunnels, sessions, note }: IdleResult): string {
  const rows = tunnels.map((one) => [
    `${one.held.toLocaleString('en-US')} idle tunnels, ${one.way}`,
    `${figure(one.relayKiB)} KiB`,
    `${figure(one.localKiB)} KiB`,
    `${figure(one.relayMiB)} MiB`,
    `${figure(one.localMiB)} MiB`,
  ]);
  rows.push([`${sessions.held.toLocaleString('en-US')} idle sessions without a tunnel, gate`, `${figure(sessions.relayKiB)} KiB`, '-', '-', '-']);
  const text = table(['', 'relay, each', 'local, each', 'relay, in all', 'local, in all'], rows);
  return note === undefined ? text : `${text}\n\nOf ${wanted} wanted: ${note}.`;
}

export function microTable(results: readonly MicroResult[]): string {
  return table(['step', 'best', 'median', 'unit'], results.map(({ name, best, median, unit }) => [name, figure(best), figure(median), unit]));
}

/** With a picture for each, beside the page, where there is a page. */
export function curveText(results: readonly CurveResult[], docsFile: string | undefined): string {
  return results
    .map((result) => {
      const { name, title, axis, points, failure } = result;
      if (failure !== undefined) return `### ${title}\n\n**failed**: ${failure}`;
      const rows = points.map((point) => [
        point.x.toLocaleString('en-US'),
        spreadText(point.relayCpuUs),
        figure(point.cpuRatio),
        spreadText(point.tps),
        figure(point.tpsRatio),
      ]);
      const head = [axis, 'relay CPU µs/statement', 'x first', 'statements/s', 'x first'];
      return [`### ${title}`, '', ...picture(result, docsFile, name), table(head, rows)].join('\n');
    })
    .join('\n\n');
}

function picture(result: CurveResult, docsFile: string | undefined, name: string): string[] {
  if (docsFile === undefined) return [];
  const folder = join(dirname(docsFile), 'benchmarks');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.svg`), curveSvg(result));
  return [`![${result.title}](benchmarks/${name}.svg)`, ''];
}

export function backpressureText(results: readonly BackpressureResult[]): string {
  return results
    .map(({ title, rows, failure }) => `### ${title}\n\n${failure === undefined ? table(['', ''], rows.map(({ what, value }) => [what, value])) : `**failed**: ${failure}`}`)
    .join('\n\n');
}
