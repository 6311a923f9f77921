/** What many statements in one text come to, worked out a few at a time: others have their turn in between. */
import { GateError } from '../errors/errors.ts';
import { explainInTurns, type Decision, type DecisionInput } from '../policy/decide.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementOutline } from '../sql/outline.ts';
import { resolveFacts } from '../sql/resolve.ts';
import type { SessionNames } from '../sql/session-names.ts';
import type { Stopping } from './parsing.ts';
import { Turns } from './turns.ts';

/** Texts of so many statements are decided on in one turn. */
export const statementsPerTurnMax = 20;
/** A text whose statements take longer is refused. */
export const decideDeadlineMs = 10_000;

export type Deciding = {
  readonly outlines: readonly StatementOutline[];
  readonly names: SessionNames;
  readonly input: Omit<DecisionInput, 'facts'>;
  readonly stopping: Stopping | undefined;
};

/** Statements with the same outline get the same facts, as one object. Fails with the reason of `stopping`. */
export async function decideOnMany({ outlines, names, input, stopping }: Deciding): Promise<{ readonly facts: readonly StatementFacts[]; readonly decision: Decision }> {
  const signal = stopping?.();
  const deadline = performance.now() + decideDeadlineMs;
  const turns = new Turns();
  const goOn = async (): Promise<void> => {
    if (!turns.isOver) return;
    await turns.next();
    if (signal?.aborted === true) throw signal.reason;
    if (performance.now() > deadline) throw tooMany(outlines.length);
  };
  const known = new Map<StatementOutline, StatementFacts>();
  for (const outline of outlines) {
    if (known.has(outline)) continue;
    known.set(outline, resolveFacts(outline, names));
    if (turns.isOver) await goOn();
  }
  const facts = outlines.map((outline) => known.get(outline) as StatementFacts);
  await goOn();
  const work = explainInTurns({ ...input, facts });
  let step = work.next();
  while (step.done !== true) {
    if (turns.isOver) await goOn();
    step = work.next();
  }
  await goOn();
  return { facts, decision: step.value.decision };
}

function tooMany(count: number): GateError {
  return new GateError('denied', `it takes too long to decide on the ${count} statements of the text`, { rule: 'parse', hint: 'Send them in parts.' });
}
