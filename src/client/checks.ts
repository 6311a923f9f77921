/** Runs the checks of gate doctor in order: each finding with its fix, and nothing asked that cannot be answered yet. */
import { ERRORS, GateError, type ErrorCode } from '../errors/errors.ts';
import { accessSteps } from './check-access.ts';
import type { DoctorOptions, Facts, Finding, Step } from './check-step.ts';
import { machineSteps } from './check-machine.ts';
import { issuerSteps, relaySteps } from './check-network.ts';

/** What is shown, and one entry of `checks` under `--json`. Holds no secret. */
export type Check = { readonly name: string } & Omit<Finding, 'code'>;
export type CheckResult = {
  readonly check: Check;
  /** The exit code that this check asks for; undefined unless it failed. */
  readonly exitCode: number | undefined;
};

/** Yields each check as soon as it is done. Only a bug makes it fail. */
export async function* runChecks(options: DoctorOptions): AsyncGenerator<CheckResult> {
  const facts: Facts = { serverTimes: [] };
  const steps = [
    ...machineSteps(options),
    ...relaySteps(),
    ...issuerSteps(),
    ...accessSteps(options),
  ];
  // Checks that say nothing about what comes after them; a failed one is in here as well as those skipped for it.
  const blockers = new Map<string, string>();
  for (const step of steps) {
    const blocker = step.needs.flatMap((name) => blockers.get(name) ?? [])[0];
    const { code, ...finding } = blocker === undefined ? await run(step, facts) : skippedFor(blocker);
    if (finding.status === 'failed') blockers.set(step.name, step.name);
    else if (blocker !== undefined) blockers.set(step.name, blocker);
    yield {
      check: { name: step.name, ...finding },
      exitCode: finding.status === 'failed' ? ERRORS[code ?? 'internal'].exit : undefined,
    };
  }
}

function skippedFor(blocker: string): Finding {
  return { status: 'skipped', detail: `not tried, because ${blocker} failed` };
}

async function run(step: Step, facts: Facts): Promise<Finding> {
  try {
    return await step.run(facts);
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    return failedBy(error, step.fix);
  }
}

function failedBy(error: GateError, fix: string | undefined): Finding {
  const { message, rule, code } = error;
  const advice = error.hint ?? fix ?? adviceFor[code];
  const detail = rule === undefined ? message : `${message} (rule: ${rule})`;
  return { status: 'failed', detail, code, ...(advice !== undefined && { fix: advice }) };
}

/** Where the error itself brings no hint. */
const adviceFor: { readonly [Code in ErrorCode]?: string } = {
  'login-required': 'Run gate login.',
  'target-unknown': 'Run gate targets for the list of what you may reach.',
  denied: 'Ask whoever keeps the policy, or choose another role: gate targets.',
};
