/** What a case is, and how its ways are run in turns: A B C A B C. */
import { loadavg } from 'node:os';
import type { Sample } from './pgbench.ts';
import { median, spreadOf, type Spread } from './statistics.ts';
import type { Way } from './way.ts';

export type Figure = {
  /** The key of it in samples. */
  readonly key: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
};

export type Case = {
  readonly name: string;
  readonly title: string;
  /** The first one is what ratios are made of. */
  readonly figures: readonly Figure[];
  readonly ways: readonly Way[];
  readonly measure: (way: Way) => Promise<Sample>;
  /** Before each measurement, and no part of it. */
  readonly prepare?: (way: Way) => Promise<void>;
  readonly rounds?: number;
};

export type WayResult = { readonly way: string; readonly samples: readonly Sample[]; readonly spreads: Readonly<Record<string, Spread>> };

export type CaseResult = {
  readonly name: string;
  readonly title: string;
  readonly figures: readonly Figure[];
  readonly ways: readonly WayResult[];
  /** Of gate's median to that of each other way: how many times as much, of what is better the more there is of it. */
  readonly ratios: Readonly<Record<string, number>>;
  /** Of the machine, before and while it ran. */
  readonly load: { readonly before: number; readonly during: Spread };
  readonly failure?: string;
};

/** Never rejects: a way that fails makes the case a failed one, and the others of it are kept. */
export async function runCase(one: Case, rounds: number): Promise<CaseResult> {
  const samples = new Map<string, Sample[]>(one.ways.map(({ name }) => [name, []]));
  const before = loadavg()[0] ?? 0;
  const during: number[] = [];
  let failure: string | undefined;
  for (let round = 0; round < (one.rounds ?? rounds) && failure === undefined; round++) {
    for (const way of one.ways) {
      try {
        await one.prepare?.(way);
        samples.get(way.name)?.push(await one.measure(way));
      } catch (error) {
        failure = `${way.name}: ${error instanceof Error ? error.message : String(error)}`;
        break;
      }
      during.push(loadavg()[0] ?? 0);
    }
  }
  const ways = [...samples].map(([way, list]) => ({ way, samples: list, spreads: spreadsOf(list) }));
  const load = { before, during: spreadOf(during.length === 0 ? [before] : during) };
  const { name, title, figures } = one;
  return { name, title, figures, ways, ratios: ratiosOf(figures[0], ways), load, ...(failure !== undefined && { failure }) };
}

function spreadsOf(samples: readonly Sample[]): Record<string, Spread> {
  const keys = new Set(samples.flatMap((sample) => Object.keys(sample)));
  return Object.fromEntries([...keys].map((key) => [key, spreadOf(samples.flatMap((sample) => sample[key] ?? []))]));
}

/** The last way is the one that is compared with the others; a plain quotient, whichever direction is better. */
function ratiosOf(figure: Figure | undefined, ways: readonly WayResult[]): Record<string, number> {
  const own = ways.at(-1);
  if (figure === undefined || own === undefined) return {};
  const valueOf = ({ samples }: WayResult): number => median(samples.flatMap((sample) => sample[figure.key] ?? []));
  return Object.fromEntries(ways.slice(0, -1).map((way) => [way.way, valueOf(own) / valueOf(way)]));
}
