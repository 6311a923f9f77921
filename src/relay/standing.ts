/** Whether a principal still stands as they did: nobody behind them has left, and the groups that count are still theirs. */
import { GateError } from '../errors/errors.ts';
import type { Directory, DirectoryEntry } from '../grant/directory.ts';
import type { Grant } from '../grant/grant.ts';
import type { Policy } from '../policy/policy.ts';
import { humanBehind, type Principal } from '../principal/principal.ts';
import { offboardingOf } from '../workload/offboarded.ts';
import { peopleBehind, workloadNameOf, workloadOf, type PersonBehind } from '../workload/people-behind.ts';

/** Why somebody no longer stands. `isUnsure`: only because something is not known now, which ends nothing that runs. */
export type Fall = { readonly rule: string; readonly reason: string; readonly isUnsure?: true; readonly hint?: string };

const whenSilent = 'Try again in a moment; /readyz of the relay shows whether its directory answers.';

export type StandingOptions = {
  readonly policy: () => Policy;
  readonly directory: Directory;
};

export class Standing {
  readonly #options: StandingOptions;

  constructor(options: StandingOptions) {
    this.#options = options;
  }

  /** By the policy alone, which is at hand. */
  byPolicy(principal: Principal): Fall | undefined {
    const { machines } = this.#options.policy();
    const gone = offboardingOf(machines, principal);
    if (gone !== undefined) return { rule: `offboarded/${gone.who}`, reason: `${gone.who} has left: ${gone.reason}` };
    const name = workloadNameOf(principal);
    if (name === undefined || workloadOf(machines, principal) !== undefined) return undefined;
    return { rule: `workload/${name}`, reason: `the policy no longer has the workload ${name}` };
  }

  /** Of a grant that is given already, also by the directory. */
  async ofGrant({ principal, target, role }: Pick<Grant, 'principal' | 'target' | 'role'>): Promise<Fall | undefined> {
    const fall = await this.ofPrincipal(principal);
    if (fall !== undefined || workloadNameOf(principal) !== undefined) return fall;
    const asked = this.#options.policy().targets.get(target)?.find(({ name }) => name === role)?.groups ?? [];
    const had = asked.filter((group) => principal.groups.includes(group));
    if (had.length === 0) return undefined;
    const entry = await this.#lookUp(humanBehind(principal)?.id);
    if (typeof entry !== 'object' || had.some((group) => entry.groups.includes(group))) return undefined;
    return { rule: `${target}/${role}/groups`, reason: `${principal.name} is no longer in ${had.join(' or ')}` };
  }

  async ofPrincipal(principal: Principal): Promise<Fall | undefined> {
    const fall = this.byPolicy(principal);
    if (fall !== undefined) return fall;
    const { machines } = this.#options.policy();
    const { knowsEverybody } = this.#options.directory;
    const people = peopleBehind(machines, principal);
    for (const person of knowsEverybody ? people : []) {
      const gone = await this.#isGone(person);
      if (gone !== undefined) return gone;
    }
    const groups = workloadOf(machines, principal)?.humanGroups;
    return groups === undefined ? undefined : this.#behindWorkload(principal, groups);
  }

  /** For what is asked for now. Fails with `denied`. */
  async check(principal: Principal): Promise<void> {
    const fall = await this.ofPrincipal(principal);
    // Who comes with a fresh token of their own has the issuer's word that they are there; a machine's says nothing of people.
    if (fall === undefined || (fall.isUnsure && workloadNameOf(principal) === undefined)) return;
    throw fallen(fall);
  }

  async #isGone({ name, subject, as }: PersonBehind): Promise<Fall | undefined> {
    // An owner whom the policy does not know any more cannot be looked up; the policy says what that means.
    if (subject === undefined) return undefined;
    const entry = await this.#lookUp(subject);
    if (entry === 'unreachable') return { rule: 'directory', reason: `the directory does not say whether ${name} is still there`, isUnsure: true, hint: whenSilent };
    const rule = `offboarded/${name}`;
    const what = as === 'owner' ? `the owner ${name}` : name;
    if (entry === undefined) return { rule, reason: `${what} has left: the directory does not know them` };
    return entry.isActive ? undefined : { rule, reason: `${what} has left: the directory says that they are not active` };
  }

  /** A verified person, of one of the groups where some are asked for. */
  async #behindWorkload(principal: Principal, groups: readonly string[]): Promise<Fall | undefined> {
    const rule = 'human/groups';
    const human = humanBehind(principal);
    if (human?.strength !== 'verified' || human.id === undefined) return { rule, reason: `nobody who is verified stands behind ${principal.name}` };
    if (groups.length === 0) return undefined;
    const entry = await this.#lookUp(human.id);
    if (entry === 'unreachable') return { rule, reason: `the groups of ${human.value} cannot be read now: the directory gives no answer`, isUnsure: true, hint: whenSilent };
    if (entry === undefined) {
      const reason = `the groups of ${human.value}, who stands behind ${principal.name}, are not known`;
      return { rule, reason, isUnsure: true, hint: 'They must run gate login once, so that the relay has seen their groups.' };
    }
    if (groups.some((group) => entry.groups.includes(group))) return undefined;
    return { rule, reason: `${human.value}, who stands behind ${principal.name}, is not in ${groups.join(' or ')}` };
  }

  #lookUp(subject: string | undefined): Promise<DirectoryEntry | undefined | 'unreachable'> {
    return subject === undefined ? Promise.resolve(undefined) : this.#options.directory.lookUp(subject);
  }
}

export function fallen({ rule, reason, hint = 'Ask whoever keeps the policy of this relay.' }: Fall): GateError {
  return new GateError('denied', reason, { rule, hint });
}
