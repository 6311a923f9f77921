/** What stands in the record of a statement beside its decision: its shape, its tables, and what masks have made of it. */
import type { EventOf } from '../audit/entry.ts';
import type { StatementFacts } from '../sql/facts.ts';
import { shapeOf } from '../sql/shape.ts';
import type { Allowed } from './gatekeeper.ts';
import type { Prepared } from './pending.ts';

/** By objects that a decision is known by, as long as they are: most statements ran before. */
const tables = new WeakMap<readonly StatementFacts[], readonly string[]>();
/** By what the text says: texts that share it differ in literals only, which a shape leaves out. */
const shapes = new WeakMap<Prepared['outlines'], string>();

/** Which tables it touches, as far as names tell. */
export function tablesEvent({ facts }: Allowed): Pick<EventOf<'statement'>, 'tables'> {
  let names = tables.get(facts);
  if (names === undefined) {
    names = [...new Set(facts.flatMap(({ reads, writes }) => [...reads, ...writes]))];
    tables.set(facts, names);
  }
  return names.length === 0 ? {} : { tables: [...names] };
}

/** What is recorded of a rewritten text: what was sent, and which columns were masked in it. */
export function maskedEvent({ sent, text, isRedacted }: Prepared): Pick<EventOf<'statement'>, 'sent' | 'masked'> {
  if (sent === undefined) return {};
  const isOther = sent.sql !== text.split('\0', 1)[0];
  return { ...(isOther && !isRedacted && { sent: sent.sql }), masked: [...sent.columns] };
}

export function knownShapeOf({ outlines, sql }: Prepared): string {
  const known = outlines.length === 0 ? undefined : shapes.get(outlines);
  if (known !== undefined) return known;
  const shape = shapeOf(sql);
  if (outlines.length > 0) shapes.set(outlines, shape);
  return shape;
}
