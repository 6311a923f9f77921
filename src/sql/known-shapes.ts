/** Facts of texts that differ in their literals only, worked out once: most of what programs send is one of a few shapes. */
import { withLiterals, withoutLiterals } from './literal-free.ts';
import type { ParsedSql } from './parser.ts';
import { holdsSecret } from './secrets.ts';
import type { Statement } from './statement.ts';

/** Shapes that are kept, of so many characters together at most. */
export const shapesMax = 4000;
export const shapeCharactersMax = 4 * 1024 * 1024;
/** Of these no literal says what they do, but for calls that the comparison with other literals tells apart. */
const plainStart = /^\s*(?:select|insert|update|delete|with|begin|commit|rollback|end)\b/i;

/**
 * Two sets of values that no text has, unlike each other in all that facts could depend on: a bound, a list's length, a
 * name. Where the facts of a text are the same with either, they do not depend on its literals.
 */
const canaries = [
  { integer: '7919', decimal: '79.19', string: 'zq7zq' },
  { integer: '0', decimal: '0.0', string: '{8,zq},zq.z' },
] as const;

type Parse = (sql: string) => ParsedSql;

export class KnownShapes {
  readonly #parse: Parse;
  /** `varies`: literals count, so each text is parsed. */
  #shapes = new Map<string, Statement | 'varies'>();
  #characters = 0;

  constructor(parse: Parse) {
    this.#parse = parse;
  }

  /** As the parser itself, and for the same text with the same result. */
  parse(sql: string): ParsedSql {
    const shape = withoutLiterals(sql);
    if (shape === undefined) return this.#parse(sql);
    const known = this.#shapes.get(shape);
    if (known === undefined) return this.#learn(sql, shape);
    if (known === 'varies' || holdsSecret(sql)) return this.#parse(sql);
    return { ok: true, statement: known, recordedSql: sql, isRedacted: false };
  }

  #learn(sql: string, shape: string): ParsedSql {
    const parsed = this.#parse(sql);
    // An error may be about a literal, and costs the client more than it costs here.
    if (!parsed.ok) return parsed;
    this.#keep(shape, !parsed.isRedacted && plainStart.test(sql) && this.#isFixed(parsed.statement, shape) ? parsed.statement : 'varies');
    return parsed;
  }

  #isFixed(statement: Statement, shape: string): boolean {
    if (statement.hasSecret || statement.secretOffsets.length > 0) return false;
    const facts = JSON.stringify(statement);
    return canaries.every((canary) => {
      const other = this.#parse(withLiterals(shape, canary));
      return other.ok && JSON.stringify(other.statement) === facts;
    });
  }

  /** The oldest half goes when there is no room: what is in use is learnt again at once. */
  #keep(shape: string, facts: Statement | 'varies'): void {
    if (this.#shapes.size >= shapesMax || this.#characters + shape.length > shapeCharactersMax) {
      const newest = [...this.#shapes].slice(this.#shapes.size >> 1);
      this.#shapes = new Map(newest);
      this.#characters = newest.reduce((sum, [one]) => sum + one.length, 0);
    }
    this.#shapes.set(shape, facts);
    this.#characters += shape.length;
  }
}
