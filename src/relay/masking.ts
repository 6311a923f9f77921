/** The masks of one connection: whether they still are what they were at its start, and what they make of a statement. */
import { GateError } from '../errors/errors.ts';
import type { Masked, StoredValue } from '../mask/masked.ts';
import { findSentinel } from '../mask/sentinel.ts';
import { maskLevels, type MaskPlan, type MaskRules } from '../mask/plan.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { Grammar } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import type { MaskPlans, MaskRequest, PreparedPlan } from './mask-plans.ts';

export type MaskingOptions = {
  /** Those of the moment. */
  readonly rules: () => MaskRules;
  readonly plans: MaskPlans;
  readonly grammar: Grammar;
  /** A program that writes what it has read cannot tell a mask from a value. */
  readonly isAgent: boolean;
  /** The masks are others than those under which the database session was opened: it must end. */
  readonly onChanged: (error: GateError) => void;
};

/** What a text is sent as. */
export type Sent = Extract<Masked, { ok: true }>;

export class Masking {
  readonly #options: MaskingOptions;
  /** At the start of the connection. */
  readonly rules: MaskRules;
  #prepared: PreparedPlan | undefined;

  constructor(options: MaskingOptions) {
    this.#options = options;
    this.rules = options.rules();
  }

  /** Whether anything is masked at all. */
  get isOn(): boolean {
    return this.rules.rules.length > 0;
  }

  /** Statements are rewritten; at the level `display` only results are looked at. */
  get rewrites(): boolean {
    return this.isOn && this.rules.level !== 'display';
  }

  /** Rows are looked at one by one: at the level `display`, and by detectors. Then a portal is described before each of its runs. */
  get looksAtRows(): boolean {
    return this.isOn && (this.rules.level === 'display' || this.rules.detect.length > 0);
  }

  /** Has the plan ready by which results are shown at the level `display`. Fails with `denied` for what it could not show masked. */
  async prepareDisplay({ catalog }: SessionNames, facts: readonly StatementFacts[]): Promise<void> {
    if (catalog?.data.details === undefined) throw catalogMissing();
    this.#prepared = await this.#options.plans.planFor(catalog, this.#options.grammar, this.rules);
    const { plan } = this.#prepared;
    const isClean = (name: string) => catalog.data.relations.some((one) => `${one.schema}.${one.name}` === name && (plan.relation(one.id)?.access ?? 'clean') === 'clean');
    const written = this.#options.isAgent ? facts.flatMap(({ writes }) => writes).find((name) => !isClean(name)) : undefined;
    if (written !== undefined) throw writeByAgent(written);
    const copied = facts.flatMap(({ command, reads }) => (command === 'COPY' ? reads : [])).find((name) => !name.startsWith('pg_catalog.') && !isClean(name));
    if (copied !== undefined) throw copyOfMasked(copied);
  }

  /** By which the last statement was rewritten. */
  get plan(): MaskPlan | undefined {
    return this.#prepared?.plan;
  }

  /** Fails, and has the connection ended, when other masks apply by now: its statements and cursors were made under the old ones. */
  checkUnchanged(): void {
    if (this.#options.rules().digest === this.rules.digest) return;
    const error = new GateError('masks-changed', 'other masks apply to you now than when this connection was opened', {
      hint: 'Connect again: what was prepared here was prepared under the old ones.',
    });
    this.#options.onChanged(error);
    throw error;
  }

  /** Fails with `denied` for a text that cannot be proven safe. */
  async apply(request: MaskRequest): Promise<Sent> {
    const { names } = request;
    const { plans, grammar } = this.#options;
    if (names.catalog?.data.details === undefined) throw catalogMissing();
    this.#prepared = await plans.planFor(names.catalog, grammar, this.rules);
    const { plan } = this.#prepared;
    if (maskLevels.indexOf(plan.level) < maskLevels.indexOf(this.rules.level)) throw levelTooLow(plan, this.rules);
    const masked = await this.#prepared.mask(request);
    if (masked.ok) return masked;
    throw new MaskRefusal(masked);
  }

  /** A refusal when an agent sends, with anything that does more than read, a piece of text that masks make. */
  checkAgent({ facts, text }: { readonly facts: readonly StatementFacts[]; readonly text: string }, values: readonly BoundValue[]): GateError | undefined {
    if (!this.isOn || !this.#options.isAgent || facts.every(({ kinds }) => kinds.every((kind) => kind === 'read'))) return undefined;
    const texts = [text, ...values.map((value) => value?.bytes.toString('utf8') ?? '')];
    const found = texts.map((one) => findSentinel(one, this.rules)).find((one) => one !== undefined);
    if (found === undefined) return undefined;
    return new GateError('denied', `the statement holds ${JSON.stringify(found)}, which a mask shows in place of a value`, {
      rule: 'masks/value',
      hint: 'The real value is not known here, so it cannot be written anywhere. Leave the column out.',
    });
  }

  /** A refusal when a write would store what a mask has made of a value. */
  checkStored(stored: readonly StoredValue[], values: readonly BoundValue[]): GateError | undefined {
    const images = this.plan?.images ?? [];
    if (images.length === 0) return undefined;
    for (const one of stored) {
      const text = 'text' in one ? one.text : (values[one.parameter - 1]?.bytes.toString('utf8') ?? '');
      if (images.some((image) => image.test(text))) {
        return new GateError('denied', `the value ${'text' in one ? `'${text}'` : `of $${one.parameter}`} is what a mask shows in place of another`, {
          rule: 'masks/value',
          hint: 'Writing it would put the mask in place of the real value. Leave the column out.',
        });
      }
    }
    return undefined;
  }
}

/** What `display` shows could come back as a value: there nothing else keeps it out. */
function writeByAgent(name: string): GateError {
  return new GateError('denied', `${name} has masked columns, and an agent may not write it where masks are only displayed`, {
    rule: 'masks/agent',
    hint: 'A person can run this statement with gate exec.',
  });
}

/** With the place in the client's text. */
export class MaskRefusal extends GateError {
  readonly position: number | undefined;

  constructor({ rule, reason, hint, position }: Extract<Masked, { ok: false }>) {
    super('denied', reason, { rule, hint });
    this.position = position;
  }
}

function catalogMissing(): GateError {
  return new GateError('denied', 'what the names of the statement stand for is not known, so nothing can be masked', {
    rule: 'masks/catalog',
    hint: "The relay could not read the database's catalog; its operator finds the reason in its log.",
  });
}

function copyOfMasked(name: string): GateError {
  return new GateError('denied', `COPY does not say which columns it sends, so those of ${name} cannot be masked`, {
    rule: 'masks/statement',
    hint: 'Send the query itself, as a SELECT.',
  });
}

function levelTooLow({ level }: MaskPlan, rules: MaskRules): GateError {
  return new GateError('denied', `masking is ${level} here, and the policy asks for ${rules.level}`, {
    rule: 'masks/level',
    hint: 'The database role of the relay can read columns that it must not. See gate doctor <target>.',
  });
}
