/** From the keys of a policy file to trusted issuers and workloads; mistakes are told where they stand. */
import { isLoopbackHost } from '../api/loopback-host.ts';
import { messageOf } from '../errors/errors.ts';
import { presetOf, type Preset } from '../workload/presets.ts';
import type { Finder, TrustedIssuer, Workload, Workloads } from '../workload/workload.ts';
import { adviseName, nearest } from '../yaml/nearest.ts';
import type { Report } from '../yaml/yaml-file.ts';
import { createFinder } from './pattern.ts';
import type { PolicyFile } from './policy-file.ts';
import { resolveOffboarded, resolvePeople } from './resolve-people.ts';

type IssuerFile = NonNullable<PolicyFile['issuers']>[string];
type WorkloadFile = NonNullable<PolicyFile['workloads']>[string];

const sessionDefault = 3600;
/** They are other ones in each token, or checked for all tokens of an issuer alike. */
const unfitClaims = new Map([
  ['iss', 'url of the issuer decides on it'],
  ['aud', 'audience of the issuer decides on it'],
  ...['exp', 'iat', 'nbf', 'jti'].map((name): [string, string] => [name, 'it is another one in each token']),
]);

export function resolveWorkloads(file: PolicyFile, report: Report): Workloads {
  const issuers = resolveIssuers(file.issuers ?? {}, report);
  return {
    issuers,
    workloads: Object.entries(file.workloads ?? {}).map(([name, one]) => {
      checkWorkload({ name, file: one, issuers, people: file.people ?? {} }, report);
      return resolveWorkload(name, one, report);
    }),
    people: resolvePeople(file.people ?? {}, issuers, report),
    offboarded: resolveOffboarded(file.offboarded ?? [], file.people ?? {}, report),
  };
}

function resolveIssuers(files: Readonly<Record<string, IssuerFile>>, report: Report): Map<string, TrustedIssuer> {
  const issuers = new Map<string, TrustedIssuer>();
  for (const [name, file] of Object.entries(files)) {
    const issuer = resolveIssuer(name, file, report);
    const same = [...issuers.values()].find(({ url }) => url === issuer.url && url !== '');
    if (same !== undefined) report(['issuers', name, ...(file.url === undefined ? [] : ['url'])], `${same.name} has the same url: write one issuer, and a workload for each purpose`);
    issuers.set(name, issuer);
  }
  return issuers;
}

function resolveIssuer(name: string, file: IssuerFile, report: Report): TrustedIssuer {
  const { preset: presetName = 'generic', audience, algorithms = ['RS256'], requiredClaims = [], jwksUrl } = file;
  const preset = presetOf({ preset: presetName });
  const url = file.url ?? preset.url;
  if (url === undefined) report(['issuers', name, 'url'], `missing, write the issuer as it stands in its tokens${urlExamples.get(presetName) ?? ''}`);
  for (const [key, value] of [['url', file.url], ['jwksUrl', jwksUrl]] as const) {
    const problem = value === undefined ? undefined : urlProblem(value, key);
    if (problem !== undefined) report(['issuers', name, key], problem);
  }
  return {
    name,
    preset: presetName,
    url: url ?? '',
    audience,
    algorithms,
    lifetimeSecondsMax: file.maxLifetime ?? preset.lifetimeSecondsMax,
    requiredClaims,
    ...(jwksUrl !== undefined && { jwksUrl }),
  };
}

const urlExamples = new Map([
  ['circleci', ', as in https://oidc.circleci.com/org/<id of the organization>'],
  ['kubernetes', ': kubectl get --raw /.well-known/openid-configuration shows it'],
]);

function urlProblem(text: string, key: 'url' | 'jwksUrl'): string | undefined {
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'it must not hold a user name or a password';
  if (key === 'url' && /[?#]/.test(text)) return 'an issuer has neither "?" nor "#" in it';
  if (url.protocol === 'https:' || isLoopbackHost(url.hostname)) return undefined;
  return 'keys that come over plain http can be anybody\'s: write https (http is for loopback only)';
}

type WorkloadPlace = { readonly name: string; readonly file: WorkloadFile; readonly issuers: ReadonlyMap<string, TrustedIssuer>; readonly people: object };

function checkWorkload({ name, file, issuers, people }: WorkloadPlace, report: Report): void {
  const path = ['workloads', name];
  if (file.owner !== undefined && !Object.hasOwn(people, file.owner)) report([...path, 'owner'], `there is no person "${file.owner}": ${adviseName(file.owner, Object.keys(people))}`);
  const issuer = issuers.get(file.issuer);
  if (issuer === undefined) {
    report([...path, 'issuer'], `there is no issuer "${file.issuer}": ${adviseName(file.issuer, [...issuers.keys()])}`);
    return;
  }
  const preset = presetOf(issuer);
  checkClaimNames(file, preset, path, report);
  checkPins(file, preset, path, report);
  if (file.human !== undefined && preset.account === undefined && preset.commit === undefined) {
    report([...path, 'human'], `tokens of ${preset.name} name neither a person nor a commit, so no run would ever be let in`, { ofKey: true });
  }
}

function checkClaimNames({ claims }: WorkloadFile, preset: Preset, path: readonly PropertyKey[], report: Report): void {
  for (const [claim, value] of Object.entries(claims)) {
    const at = [...path, 'claims', claim];
    const unfit = unfitClaims.get(claim);
    if (unfit !== undefined) report(at, `leave it out: ${unfit}`, { ofKey: true });
    if ([value].flat().some((one) => typeof one === 'number' && !Number.isSafeInteger(one))) report(at, 'a number like this loses digits: write it in quotes');
    // Platforms add claims, so only what is all but a known name is a slip.
    const near = preset.claims.includes(claim) ? undefined : nearest(claim, preset.claims);
    if (near !== undefined) report(at, `tokens of ${preset.name} have no such claim: did you mean "${near}"?`, { ofKey: true });
  }
}

function checkPins({ claims, untrusted }: WorkloadFile, preset: Preset, path: readonly PropertyKey[], report: Report): void {
  const at = [...path, 'claims'];
  const isPinned = (name: string) => Object.hasOwn(claims, name) && [claims[name]].flat().every((value) => !String(value).includes('*'));
  if (!preset.anchors.some((anchor) => anchor.every(isPinned))) {
    const choices = preset.anchors.map((anchor) => anchor.join(' and ')).join(', or ');
    report(at, `names can be given to others: pin ${choices}, with exact values`, { ofKey: true });
  }
  const missing = untrusted === 'allow' ? [] : preset.pins.filter((name) => !isPinned(name));
  if (missing.length > 0) {
    report(at, `nothing else in tokens of ${preset.name} keeps builds of forks out: pin ${missing.join(' and ')} as well, with exact values, or write untrusted: allow`, { ofKey: true });
  }
}

function resolveWorkload(name: string, file: WorkloadFile, report: Report): Workload {
  const { issuer, claims, groups, owner, session = sessionDefault, human, untrusted } = file;
  const finder = (field: 'reasonFrom' | 'ticketFrom'): { [name in typeof field]?: Finder } => {
    const source = file[field];
    if (source === undefined) return {};
    try {
      return { [field]: createFinder(source) };
    } catch (error) {
      report(['workloads', name, field], `this is no RE2 pattern: ${messageOf(error)}`);
      return {};
    }
  };
  return {
    name,
    issuer,
    claims: new Map(Object.entries(claims).map(([claim, value]) => [claim, [value].flat().map(String)])),
    groups,
    sessionSeconds: session,
    allowsUntrusted: untrusted === 'allow',
    ...(owner !== undefined && { owner }),
    ...(human !== undefined && { humanGroups: human.groups ?? [] }),
    ...finder('reasonFrom'),
    ...finder('ticketFrom'),
  };
}
