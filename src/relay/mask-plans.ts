/** Plans of masks and the texts rewritten by them, shared by all connections under the same masks over the same catalog. */
import { buildPlanInTurns, storedTexts } from '../mask/closure.ts';
import { maskInTurns, refusedAsTooLong, type MaskedText } from '../mask/analyse.ts';
import type { Masked } from '../mask/masked.ts';
import { customTexts, cutRules } from '../mask/custom.ts';
import type { MaskPlan, MaskRules } from '../mask/plan.ts';
import type { Catalog } from '../sql/catalog.ts';
import { type Grammar, type Syntax } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import type { StatementParser, Stopping } from './parsing.ts';
import { Turns } from './turns.ts';
import type { RelayLog } from './relay-log.ts';

/** Rewritten texts that one plan keeps, and their characters in all. */
const textsMax = 5000;
const charactersMax = 8 * 1024 * 1024;
/** Every text that comes out of the analysis is parsed again, and so is each view that it takes in. */
const passesMax = 100;

/** A text as it is to be rewritten. */
export type MaskRequest = {
  readonly sql: string;
  readonly parameterTypes: readonly number[];
  readonly names: SessionNames;
  /** People have to approve it. */
  readonly isHeld: boolean;
  /** Where the wait for it can be given up. */
  readonly stopping?: Stopping | undefined;
};

/** The plan of one set of rules over one catalog. */
export class PreparedPlan {
  readonly plan: MaskPlan;
  readonly problems: readonly string[];
  readonly #parser: StatementParser;
  readonly #grammar: Grammar;
  readonly #texts = new Map<string, Masked>();
  #characters = 0;

  constructor(built: { plan: MaskPlan; problems: readonly string[] }, parser: StatementParser, grammar: Grammar) {
    this.plan = built.plan;
    this.problems = built.problems;
    this.#parser = parser;
    this.#grammar = grammar;
  }

  /** Fails as the parser does, for texts that cannot be examined. */
  async mask(request: MaskRequest): Promise<Masked> {
    const { sql, parameterTypes, names, isHeld } = request;
    // What EXECUTE runs is not part of the text.
    if ((names.prepared?.size ?? 0) > 0) return this.#analyse(request);
    const key = `${isHeld}\n${names.path?.join('\0') ?? ''}\n${parameterTypes.join(' ')}\n${sql}`;
    const known = this.#texts.get(key);
    if (known !== undefined) {
      this.#texts.delete(key);
      this.#texts.set(key, known);
      return known;
    }
    const masked = await this.#analyse(request);
    this.#keep(key, masked);
    return masked;
  }

  #keep(key: string, masked: Masked): void {
    const size = (text: string, { ok, ...rest }: Masked) => text.length + (ok && 'sql' in rest ? rest.sql.length : 0);
    this.#texts.set(key, masked);
    this.#characters += size(key, masked);
    for (const [oldest, value] of this.#texts) {
      if (this.#texts.size <= textsMax && this.#characters <= charactersMax) break;
      this.#texts.delete(oldest);
      this.#characters -= size(oldest, value);
    }
  }

  /** A view that only the worker may parse is met in the midst of the analysis: it is parsed there, and all is done again. */
  async #analyse({ sql, parameterTypes, names, isHeld, stopping }: MaskRequest): Promise<Masked> {
    const tooLong = refusedAsTooLong(sql);
    if (tooLong !== undefined) return tooLong;
    const views = new Map<string, Syntax | undefined>();
    const parsed = this.#parser.parseSyntax(sql, this.#grammar, stopping);
    const syntax = parsed instanceof Promise ? await parsed : parsed;
    if (syntax === undefined) return unreadable;
    for (let pass = 0; pass < passesMax; pass++) {
      let missing: string | undefined;
      const parse = (text: string): Syntax | undefined => {
        if (views.has(text)) return views.get(text);
        const parsing = this.#parser.parseSyntax(text, this.#grammar);
        if (!(parsing instanceof Promise)) return parsing;
        parsing.catch(() => undefined);
        missing = text;
        throw new NotParsedYet();
      };
      try {
        return await this.#mask({ sql, syntax, names, plan: this.plan, parameterTypes, isHeld, parse }, stopping);
      } catch (error) {
        if (!(error instanceof NotParsedYet) || missing === undefined) throw error;
        views.set(missing, await this.#parser.parseSyntax(missing, this.#grammar));
      }
    }
    return unreadable;
  }

  async #mask(text: MaskedText, stopping: Stopping | undefined): Promise<Masked> {
    const { sql, syntax } = text;
    const work = maskInTurns(text);
    const turns = new Turns();
    let step = work.next();
    while (step.done !== true) {
      if (step.value !== undefined) {
        const checking = this.#parser.check({ sql, syntax, ...step.value }, this.#grammar, stopping);
        step = work.next(checking instanceof Promise ? await checking : checking);
      } else {
        if (turns.isOver) await turns.next();
        if (stopping?.().aborted === true) throw stopping().reason;
        step = work.next();
      }
    }
    return step.value;
  }
}

class NotParsedYet extends Error {}

const unreadable: Masked = {
  ok: false,
  rule: 'masks/syntax',
  reason: 'the statement cannot be followed by the grammar of its server',
  hint: 'Split it, or write it more simply.',
};

/** A plan, and before it is there the promise of it. */
type Planning = { readonly ready: Promise<PreparedPlan>; plan?: PreparedPlan };

export class MaskPlans {
  readonly #parser: StatementParser;
  readonly #log: RelayLog;
  /** By the digest of their rules. */
  readonly #plans = new WeakMap<Catalog, Map<string, Planning>>();

  constructor(parser: StatementParser, log: RelayLog) {
    this.#parser = parser;
    this.#log = log;
  }

  /** Built once for a catalog and the rules that apply. `catalog` must have its details. */
  planFor(catalog: Catalog, grammar: Grammar, rules: MaskRules): Promise<PreparedPlan> {
    let plans = this.#plans.get(catalog);
    if (plans === undefined) this.#plans.set(catalog, (plans = new Map()));
    let planning = plans.get(rules.digest);
    if (planning === undefined) {
      const begun: Planning = { ready: this.#build(catalog, grammar, rules) };
      begun.ready.then((plan) => (begun.plan = plan), () => plans.delete(rules.digest));
      plans.set(rules.digest, (planning = begun));
    }
    return planning.ready;
  }

  /** Undefined where nobody has asked for the plan yet. */
  known(catalog: Catalog, rules: MaskRules): PreparedPlan | undefined {
    return this.#plans.get(catalog)?.get(rules.digest)?.plan;
  }

  async #build(catalog: Catalog, grammar: Grammar, rules: MaskRules): Promise<PreparedPlan> {
    const trees = new Map<string, Syntax | undefined>();
    const turns = new Turns();
    for (const sql of [...customTexts(rules), ...storedTexts(catalog)]) {
      if (turns.isOver) await turns.next();
      trees.set(sql, await this.#parser.parseSyntax(sql, grammar));
    }
    const syntaxOf = (sql: string) => trees.get(sql);
    const cut = cutRules(rules, syntaxOf);
    const work = buildPlanInTurns({ catalog, rules: cut.rules, syntaxOf });
    let step = work.next();
    while (step.done !== true) {
      if (turns.isOver) await turns.next();
      step = work.next();
    }
    const built = { ...step.value, problems: [...cut.problems, ...step.value.problems] };
    for (const problem of built.problems) this.#log.warn({ masks: problem }, 'a mask needs attention');
    return new PreparedPlan(built, this.#parser, grammar);
  }
}
