/** Facts of a long text as they cross between threads: what is said twice crosses once. Pure. */
import type { StatementOutline } from './outline.ts';
import type { ParsedSql } from './parser.ts';
import type { Statement } from './statement.ts';

/** `recordedSql`: only where it is another than the text. `order`: which of the outlines each statement has. */
export type PackedFacts = Omit<ParsedSql, 'recordedSql' | 'statement'> & {
  readonly recordedSql?: string;
  readonly statement?: Omit<Statement, 'settingChanges' | 'secretOffsets'>;
  readonly order?: Uint32Array;
};

/** Statements that come to the same share one outline: a file of rows is thousands of INSERTs that do. */
export function packFacts(sql: string, parsed: ParsedSql): PackedFacts {
  const { recordedSql, ...rest } = parsed;
  const text = recordedSql === sql ? {} : { recordedSql };
  if (!('statement' in rest)) return { ...rest, ...text };
  const { settingChanges: _, secretOffsets: __, ...statement } = rest.statement;
  const known = new Map<string, number>();
  const outlines: StatementOutline[] = [];
  const order = Uint32Array.from(statement.outlines, (outline) => {
    const key = JSON.stringify(outline);
    const index = known.get(key) ?? outlines.push(outline) - 1;
    known.set(key, index);
    return index;
  });
  return { ...rest, ...text, statement: { ...statement, outlines }, order };
}

/** As they were, but for the places of secrets, which only the parser needs. */
export function unpackFacts(sql: string, { recordedSql = sql, statement, order, ...rest }: PackedFacts): ParsedSql {
  if (statement === undefined || order === undefined) return { ...rest, recordedSql } as ParsedSql;
  const outlines = Array.from(order, (index) => statement.outlines[index] as StatementOutline);
  const settingChanges = outlines.flatMap((outline) => outline.settingChanges);
  return { ...rest, recordedSql, statement: { ...statement, outlines, settingChanges, secretOffsets: [] } } as ParsedSql;
}
