/** Which workload a token is: claims compared as a whole, runs from outside kept out, and a refusal that says what did not fit. */
import { oneLine } from './one-line.ts';
import { presetOf } from './presets.ts';
import { untrustedBecause } from './untrusted.ts';
import type { Claims, TrustedIssuer, Workload, Workloads } from './workload.ts';

export type Match = { readonly ok: true; readonly workload: Workload } | { readonly ok: false; readonly rule: string; readonly reason: string; readonly hint?: string };

/** Most claims that a refusal names. */
const namedMax = 6;

/**
 * The first workload of the issuer whose claims the token meets. One that does not take runs from outside is passed over
 * by them. A refusal shows values of the token only, and names a workload only to tokens of the very project it is for.
 */
export function matchWorkload(machines: Workloads, issuer: TrustedIssuer, claims: Claims): Match {
  const candidates = machines.workloads.filter((workload) => workload.issuer === issuer.name);
  const outside = untrustedBecause(issuer.preset, claims);
  let refused: Workload | undefined;
  let nearest: { readonly workload: Workload; readonly unmet: readonly string[] } | undefined;
  for (const workload of candidates) {
    const unmet = [...workload.claims].filter(([name, wanted]) => !meets(claims, name, wanted)).map(([name]) => name);
    if (unmet.length === 0) {
      if (outside === undefined || workload.allowsUntrusted) return { ok: true, workload };
      refused ??= workload;
    } else if (isOfAnchor(issuer, workload, unmet) && (nearest === undefined || unmet.length < nearest.unmet.length)) {
      nearest = { workload, unmet };
    }
  }
  if (refused !== undefined) return refuseOutside(refused, outside ?? '');
  if (nearest !== undefined) return refuseNearest(nearest.workload, claims, nearest.unmet);
  const anchors = presetOf(issuer).anchors.flat();
  return {
    ok: false,
    rule: `issuers/${issuer.name}`,
    reason: `no workload of ${issuer.name} is for this token: ${values(claims, anchors)}`,
    hint: 'Write these values under workloads: in the policy, if this machine is to have access.',
  };
}

function refuseOutside({ name }: Workload, outside: string): Match {
  return {
    ok: false,
    rule: `workloads/${name}/untrusted`,
    reason: `${name} takes no runs that outsiders can cause: ${outside}`,
    hint: 'Run it from a branch of the repository itself, or say untrusted: allow in a workload of its own with less access.',
  };
}

function refuseNearest({ name }: Workload, claims: Claims, unmet: readonly string[]): Match {
  return {
    ok: false,
    rule: `workloads/${name}/claims`,
    reason: `no workload fits this token; the nearest is ${name}, but for ${values(claims, unmet)}`,
    hint: `See what workloads: says of ${name} in the policy.`,
  };
}

/** Whether the token is of the project, account or cluster that the workload is for, whatever else does not fit. */
function isOfAnchor(issuer: TrustedIssuer, workload: Workload, unmet: readonly string[]): boolean {
  return presetOf(issuer).anchors.some((anchor) => anchor.every((name) => workload.claims.has(name) && !unmet.includes(name)));
}

function meets(claims: Claims, name: string, wanted: readonly string[]): boolean {
  const value = claims.get(name);
  if (value === undefined) return false;
  // An address that nobody has checked is anybody's.
  if (name === 'email' && claims.get('email_verified') !== 'true') return false;
  const has = typeof value === 'string' ? [value] : value;
  return wanted.some((pattern) => has.some((one) => fits(pattern, one)));
}

/** `*` stands for one whole segment between slashes, everything else for itself. */
function fits(pattern: string, value: string): boolean {
  if (!pattern.includes('*')) return pattern === value;
  const wanted = pattern.split('/');
  const has = value.split('/');
  return wanted.length === has.length && wanted.every((segment, index) => (segment === '*' ? has[index] !== '' : segment === has[index]));
}

function values(claims: Claims, names: readonly string[]): string {
  const told = names.slice(0, namedMax).map((name) => {
    const value = claims.get(name);
    if (value === undefined) return `${name} is missing`;
    if (name === 'email' && claims.get('email_verified') !== 'true') return `${name} is not verified`;
    return `${name} is ${JSON.stringify(oneLine([value].flat().join(', '), 100) ?? '')}`;
  });
  return told.join(', ') + (names.length > namedMax ? ` and ${names.length - namedMax} more` : '');
}
