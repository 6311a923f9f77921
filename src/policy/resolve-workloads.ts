/** From the keys of a policy file to trusted issuers, workloads and people; mistakes are told where they stand. */
import { messageOf } from '../errors/errors.ts';
import { adviseName } from '../yaml/nearest.ts';
import type { Report } from '../yaml/yaml-file.ts';
import type { Finder, Offboarded, Person, TrustedIssuer, Workload, Workloads } from '../workload/workload.ts';
import { createFinder } from './pattern.ts';
import type { PolicyFile } from './policy-file.ts';

const lifetimeDefault = 15 * 60;
const sessionDefault = 3600;

export function resolveWorkloads(file: PolicyFile, report: Report): Workloads {
  const { issuers = {}, workloads = {}, people = {}, offboarded = [] } = file;
  const unknown = (what: string, name: string, known: object, path: readonly PropertyKey[]) =>
    report(path, `there is no ${what} "${name}": ${adviseName(name, Object.keys(known))}`);
  for (const [name, { issuer, owner }] of Object.entries(workloads)) {
    if (!Object.hasOwn(issuers, issuer)) unknown('issuer', issuer, issuers, ['workloads', name, 'issuer']);
    if (owner !== undefined && !Object.hasOwn(people, owner)) unknown('person', owner, people, ['workloads', name, 'owner']);
  }
  for (const [name, { accounts = {} }] of Object.entries(people)) {
    for (const issuer of Object.keys(accounts)) {
      if (!Object.hasOwn(issuers, issuer)) unknown('issuer', issuer, issuers, ['people', name, 'accounts', issuer]);
    }
  }
  for (const [index, { person, subject }] of offboarded.entries()) {
    if ((person === undefined) === (subject === undefined)) report(['offboarded', index], 'write either person or subject');
    if (person !== undefined && !Object.hasOwn(people, person)) unknown('person', person, people, ['offboarded', index, 'person']);
  }
  return {
    issuers: new Map(Object.entries(issuers).map(([name, one]) => [name, resolveIssuer(name, one, report)])),
    workloads: Object.entries(workloads).map(([name, one]) => resolveWorkload(name, one, report)),
    people: new Map(Object.entries(people).map(([name, one]) => [name, resolvePerson(name, one)])),
    offboarded: offboarded.map(({ person, subject, reason }): Offboarded => ({ reason, ...(person !== undefined && { person }), ...(subject !== undefined && { subject }) })),
  };
}

function resolveIssuer(name: string, file: NonNullable<PolicyFile['issuers']>[string], report: Report): TrustedIssuer {
  const { preset = 'generic', url, audience, algorithms = ['RS256'], maxLifetime = lifetimeDefault, requiredClaims = [], jwksUrl } = file;
  if (url === undefined) report(['issuers', name, 'url'], 'missing, write the issuer as it stands in its tokens');
  return { name, preset, url: url ?? '', audience, algorithms, lifetimeSecondsMax: maxLifetime, requiredClaims, ...(jwksUrl !== undefined && { jwksUrl }) };
}

function resolveWorkload(name: string, file: NonNullable<PolicyFile['workloads']>[string], report: Report): Workload {
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
    claims: new Map(Object.entries(claims).map(([claim, value]) => [claim, (Array.isArray(value) ? value : [value]).map(String)])),
    groups,
    sessionSeconds: session,
    allowsUntrusted: untrusted === 'allow',
    ...(owner !== undefined && { owner }),
    ...(human !== undefined && { humanGroups: human.groups ?? [] }),
    ...finder('reasonFrom'),
    ...finder('ticketFrom'),
  };
}

function resolvePerson(name: string, { subject, accounts = {}, emails = [], keys = [] }: NonNullable<PolicyFile['people']>[string]): Person {
  const ids = (value: string | number | (string | number)[]) => (Array.isArray(value) ? value : [value]).map(String);
  return { name, subject, accounts: new Map(Object.entries(accounts).map(([issuer, value]) => [issuer, ids(value)])), emails, keys };
}
