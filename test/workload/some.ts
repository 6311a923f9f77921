/** One-line builders of what the room of workloads takes: a policy as it is written, and claims as platforms sign them. */
import { payloadOf, type TokenClaims } from '../../src/dev/ci-tokens.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { flattenClaims } from '../../src/workload/claims.ts';
import { presetOf } from '../../src/workload/presets.ts';
import type { Claims, PresetName, TrustedIssuer, Workload, Workloads } from '../../src/workload/workload.ts';

export function machinesOf(yaml: string): Workloads {
  return parsePolicy(`${yaml}\ntargets: { shop: { roles: { r: { groups: [ci], allow: [read] } } } }`, 'policy.yaml').machines;
}

export function claimsOf(preset: PresetName, claims: TokenClaims = {}): Claims {
  return flattenClaims(payloadOf(preset, presetOf({ preset }).url ?? 'https://issuer.example', new Date('2026-05-04T10:00:00Z'), claims));
}

/** One workload that pins what the preset asks for, by the values of its usual token. */
export function oneOf(preset: PresetName, more = '', people = ''): { machines: Workloads; issuer: TrustedIssuer; workload: Workload } {
  const { anchors, pins, url } = presetOf({ preset });
  const usual = claimsOf(preset);
  const pinned = [...(anchors[0] ?? []), ...pins].map((name) => `${JSON.stringify(name)}: ${JSON.stringify(usual.get(name))}`);
  const machines = machinesOf(`
issuers: { ci: { preset: ${preset}, audience: gate, ${url === undefined ? 'url: https://issuer.example' : ''} } }
workloads: { migrate: { issuer: ci, groups: [ci], claims: { ${pinned.join(', ')} }, ${more} } }
${people}`);
  const [workload] = machines.workloads;
  const issuer = machines.issuers.get('ci');
  if (workload === undefined || issuer === undefined) throw new Error('the policy lost its workload');
  return { machines, issuer, workload };
}
