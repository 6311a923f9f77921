/** Decisions of one connection that stand as long as nothing has changed that they came from: prepared statements run again and again. */
import type { Grant } from '../grant/grant.ts';
import type { Decision } from '../policy/decide.ts';
import { dependsOnTime } from '../policy/match.ts';
import type { Policy } from '../policy/policy.ts';
import type { SessionNames } from '../sql/session-names.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { SettingChange, StatementOutline } from '../sql/outline.ts';

/** What a decision comes from beside the text and the grant. Objects that are replaced when what they say changes. */
type Basis = { readonly policy: Policy; readonly names: SessionNames };
export type Decided = {
  readonly decision: Decision;
  readonly facts: readonly StatementFacts[];
  /** Of the settings, by whatever the text runs. */
  readonly changes: readonly SettingChange[];
};

export class KnownDecisions {
  readonly #grant: Grant;
  /** By what the text says: texts that differ in literals only share it. */
  readonly #known = new WeakMap<readonly StatementOutline[], Basis & { readonly decided: Decided }>();

  constructor(grant: Grant) {
    this.#grant = grant;
  }

  /** Undefined where it has to be decided anew. */
  find(outlines: readonly StatementOutline[], { policy, names, now }: Basis & { readonly now: Date }): Decided | undefined {
    const known = this.#known.get(outlines);
    if (known === undefined || known.policy !== policy || now >= this.#grant.expiresAt) return undefined;
    return areSameNames(known.names, names) ? known.decided : undefined;
  }

  /** Not kept where a condition that has a say in it asks for the time. */
  keep(outlines: readonly StatementOutline[], { policy, names }: Basis, decided: Decided): void {
    const role = policy.targets.get(this.#grant.target)?.find(({ name }) => name === this.#grant.role);
    if (role === undefined || dependsOnTime(role, decided.facts)) return;
    this.#known.set(outlines, { policy, names, decided });
  }
}

/** Whether names stand for the same, but for what EXECUTE runs. */
export function areSameNames(one: SessionNames, other: SessionNames): boolean {
  return one.catalog === other.catalog && one.path === other.path && one.isUncertain === other.isUncertain && areSame(one.parameterTypes, other.parameterTypes);
}

function areSame(one: readonly number[] | undefined, other: readonly number[] | undefined): boolean {
  return one === other || (one?.length === other?.length && one?.every((type, index) => type === other?.[index]) === true);
}
