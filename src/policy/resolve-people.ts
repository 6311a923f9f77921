/** From the keys of a policy file to people, their accounts elsewhere, and those who have left; nothing may lead to two of them. */
import { presetOf } from '../workload/presets.ts';
import { parseSshKey, sshKeyTypes } from '../workload/ssh-key.ts';
import type { Offboarded, Person, TrustedIssuer } from '../workload/workload.ts';
import { adviseName } from '../yaml/nearest.ts';
import type { Report } from '../yaml/yaml-file.ts';
import type { PolicyFile } from './policy-file.ts';

type PersonFile = NonNullable<PolicyFile['people']>[string];
type OffboardedFile = NonNullable<PolicyFile['offboarded']>;

export function resolvePeople(files: Readonly<Record<string, PersonFile>>, issuers: ReadonlyMap<string, TrustedIssuer>, report: Report): Map<string, Person> {
  const taken = new Map<string, string>();
  const people = Object.entries(files).map(([name, file]): [string, Person] => {
    const path = ['people', name];
    const { subject, accounts = {}, emails = [], keys = [] } = file;
    const claim = (what: string, at: readonly PropertyKey[]) => {
      const other = taken.get(what);
      if (other !== undefined && other !== name) report(at, `${other} has the same one, so it does not say who it is`);
      taken.set(what, name);
    };
    claim(`subject\0${subject}`, [...path, 'subject']);
    for (const [issuer, value] of Object.entries(accounts)) {
      checkAccounts(issuer, value, issuers, [...path, 'accounts', issuer], report);
      for (const id of idsOf(value)) claim(`account\0${issuer}\0${id}`, [...path, 'accounts', issuer]);
    }
    for (const [index, email] of emails.entries()) claim(`email\0${email.toLowerCase()}`, [...path, 'emails', index]);
    for (const [index, line] of keys.entries()) {
      const key = parseSshKey(line);
      if (key === undefined) report([...path, 'keys', index], keyProblem(line));
      else claim(`key\0${key.blob.toString('base64')}`, [...path, 'keys', index]);
    }
    return [name, { name, subject, accounts: new Map(Object.entries(accounts).map(([issuer, value]) => [issuer, idsOf(value)])), emails, keys }];
  });
  return new Map(people);
}

export function resolveOffboarded(files: OffboardedFile, people: object, report: Report): Offboarded[] {
  return files.map(({ person, subject, reason }, index) => {
    if ((person === undefined) === (subject === undefined)) report(['offboarded', index], 'write either person or subject');
    if (person !== undefined && !Object.hasOwn(people, person)) {
      report(['offboarded', index, 'person'], `there is no person "${person}": ${adviseName(person, Object.keys(people))}. Somebody without an entry there is named by subject`);
    }
    return { reason, ...(person !== undefined && { person }), ...(subject !== undefined && { subject }) };
  });
}

type Ids = NonNullable<PersonFile['accounts']>[string];

function idsOf(value: Ids): string[] {
  return (Array.isArray(value) ? value : [value]).map(String);
}

function checkAccounts(issuer: string, value: Ids, issuers: ReadonlyMap<string, TrustedIssuer>, at: readonly PropertyKey[], report: Report): void {
  const trusted = issuers.get(issuer);
  if (trusted === undefined) {
    report(at, `there is no issuer "${issuer}": ${adviseName(issuer, [...issuers.keys()])}`);
    return;
  }
  const { name, account } = presetOf(trusted);
  if (account === undefined) report(at, `tokens of ${name} name no person, so there is nothing to compare it with`, { ofKey: true });
  const isUnsafe = [value].flat().some((id) => typeof id === 'number' && !Number.isSafeInteger(id));
  if (isUnsafe) report(at, 'a number like this loses digits: write it in quotes');
  // The mistake that costs most: names are given to others, so one in this place is never met, or worse.
  const isName = name !== 'generic' && account?.endsWith('_id') === true && idsOf(value).some((id) => !/^\d+$/.test(id));
  if (isName) report(at, `write the number that its tokens have in ${account}, not a name: names change, and are given to others`);
}

function keyProblem(line: string): string {
  if (line.includes('PRIVATE KEY')) return 'this is a private key: take it out, make a new one, and write the line of its .pub file';
  return `this is no SSH public key: write the line of a .pub file, of type ${sshKeyTypes.slice(0, -1).join(', ')} or ${sshKeyTypes.at(-1)} (2048 bits or more)`;
}
