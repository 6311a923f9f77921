/** The command line of the benchmark. */
import { parseArgs } from 'node:util';

export const usage = `npm run bench -- [options]

  --rounds N        rounds of the interleaved runs (default 5)
  --seconds N       length of one pgbench run (default 2)
  --cases LIST      only cases whose name begins with one of these, with commas:
                    select-, tpcb, connect-, latency, copy-, masked, detected, start-, idle, micro
  --megabytes N     size of bulk results and loads (default 300)
  --tunnels N       idle tunnels and sessions (default 2000)
  --quick           a smoke of about a minute: one round, small sizes; never writes docs
  --curves          costs against session length, log size, sessions, rules and relations, in place of the cases
  --backpressure    a client that does not read, a database that is silent, a slow disk, in place of the cases
  --all             cases, curves and backpressure
  --json FILE       figures as JSON; "-" is standard output
  --docs FILE       the page whose sections are written (default docs/benchmarks.md; "none" for none)
  --state DIR       where databases and records lie while it runs; must be on a real disk (default: a temporary one)
  --profile DIR     both halves of gate write V8 profiles of the whole run there; figures of such a run are worth nothing
`;

export type Parts = 'cases' | 'curves' | 'backpressure';

export type Options = {
  readonly rounds: number;
  readonly seconds: number;
  readonly cases: readonly string[] | undefined;
  readonly megabytes: number;
  readonly tunnels: number;
  readonly isQuick: boolean;
  readonly parts: ReadonlySet<Parts>;
  readonly jsonFile: string | undefined;
  readonly docsFile: string | undefined;
  readonly stateDirectory: string | undefined;
  readonly profileDirectory: string | undefined;
};

/** Throws a TypeError for what it does not know. */
export function readOptions(argv: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      cases: { type: 'string' },
      megabytes: { type: 'string' },
      tunnels: { type: 'string' },
      quick: { type: 'boolean', default: false },
      curves: { type: 'boolean', default: false },
      backpressure: { type: 'boolean', default: false },
      all: { type: 'boolean', default: false },
      json: { type: 'string' },
      docs: { type: 'string' },
      state: { type: 'string' },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const { quick: isQuick } = values;
  const parts = new Set<Parts>();
  if (values.all || values.curves) parts.add('curves');
  if (values.all || values.backpressure) parts.add('backpressure');
  if (values.all || parts.size === 0 || values.cases !== undefined) parts.add('cases');
  // A part of the cases, or a smoke, is no page; whoever wants one names the file.
  const isWhole = !isQuick && values.cases === undefined && values.profile === undefined;
  const docs = values.docs ?? (isWhole ? 'docs/benchmarks.md' : 'none');
  return {
    rounds: positive('rounds', values.rounds, isQuick ? 1 : 5),
    seconds: positive('seconds', values.seconds, isQuick ? 1 : 2),
    cases: values.cases?.split(',').filter((name) => name !== ''),
    megabytes: positive('megabytes', values.megabytes, isQuick ? 20 : 300),
    tunnels: positive('tunnels', values.tunnels, isQuick ? 60 : 2000),
    isQuick,
    parts,
    jsonFile: values.json,
    docsFile: docs === 'none' ? undefined : docs,
    stateDirectory: values.state,
    profileDirectory: values.profile,
  };
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isInteger(value) || value < 1) throw new TypeError(`--${name} takes a whole number from 1 on`);
  return value;
}
