/** The `notifications:` section of relay.yaml: who is told of access requests, and with which secrets. */
import * as z from 'zod/mini';
import { notificationEvents, type NotificationEvent } from '../api/notification.ts';
import { GateError } from '../errors/errors.ts';
import { isLoopbackHost } from '../api/loopback-host.ts';
import { Name } from '../policy/policy.ts';

const text = z.string().check(z.minLength(1));

export const sinksMax = 20;
/** Shorter HMAC secrets can be guessed from one message. */
const secretLengthMin = 16;

export const SinkEntry = z.strictObject({
  /** What logs call it. Deliveries that wait belong to the name: they survive a new URL, not a new name. */
  name: Name,
  format: z.enum(['webhook', 'slack']),
  /** Exactly one of the three. The URL of a Slack webhook is a secret, so it is not written here. */
  url: z.optional(text),
  urlFile: z.optional(text),
  urlEnv: z.optional(text),
  /** The key of the signature: exactly one of the two for a webhook, none for Slack. */
  secretFile: z.optional(text),
  secretEnv: z.optional(text),
  /** Default: all. */
  events: z.optional(z.array(z.enum(notificationEvents)).check(z.minLength(1))),
  /** Default: all. */
  targets: z.optional(z.array(Name).check(z.minLength(1))),
  includeSql: z._default(z.boolean(), true),
  includeParameters: z._default(z.boolean(), false),
});
export type SinkEntry = z.infer<typeof SinkEntry>;

/** Who is told. Its URL is never logged: of a Slack webhook it is all the secret there is. */
export type Sink = {
  readonly name: string;
  readonly url: URL;
  readonly events?: readonly NotificationEvent[];
  readonly targets?: readonly string[];
  readonly includeSql: boolean;
  readonly includeParameters: boolean;
} & ({ readonly format: 'slack' } | { readonly format: 'webhook'; readonly secret: string });

/** Where secrets come from. Both fail with `config-invalid`, naming `what` and never a value. */
export type SecretSource = {
  fromFile(file: string, what: string): Promise<string>;
  fromEnvironment(variable: string, what: string): string;
};

export async function loadSinks(entries: readonly SinkEntry[], secrets: SecretSource): Promise<Sink[]> {
  const sinks: Sink[] = [];
  for (const entry of entries) {
    if (sinks.some(({ name }) => name === entry.name)) throw invalid(entry, 'the name is taken by another one');
    sinks.push(await loadSink(entry, secrets));
  }
  return sinks;
}

async function loadSink(entry: SinkEntry, secrets: SecretSource): Promise<Sink> {
  const { name, format, events, targets, includeSql, includeParameters } = entry;
  if (includeParameters && !includeSql) throw invalid(entry, 'includeParameters needs includeSql');
  if (format === 'slack' && entry.url !== undefined) {
    throw invalid(entry, 'the URL of a Slack webhook is a secret', 'Write it to a file with mode 0600 and name that as urlFile, or use urlEnv.');
  }
  const shared = {
    name,
    includeSql,
    includeParameters,
    ...(events !== undefined && { events }),
    ...(targets !== undefined && { targets }),
    url: checkUrl(entry, await pickOne(entry, secrets, 'url')),
  };
  if (format === 'webhook') return { ...shared, format, secret: checkSecret(entry, await pickOne(entry, secrets, 'secret')) };
  if (entry.secretFile !== undefined || entry.secretEnv !== undefined) throw invalid(entry, 'Slack checks no signature, so it takes no secret');
  return { ...shared, format };
}

async function pickOne(entry: SinkEntry, secrets: SecretSource, what: 'url' | 'secret'): Promise<string> {
  const given = what === 'url' ? entry.url : undefined;
  const file = entry[`${what}File`];
  const variable = entry[`${what}Env`];
  if ([given, file, variable].filter((value) => value !== undefined).length !== 1) {
    const ways = `${what === 'url' && entry.format === 'webhook' ? 'url, ' : ''}${what}File or ${what}Env`;
    throw invalid(entry, `write exactly one of ${ways}`);
  }
  const label = `${what === 'url' ? 'URL' : 'secret'} of notification "${entry.name}"`;
  if (variable !== undefined) return secrets.fromEnvironment(variable, label);
  return file !== undefined ? secrets.fromFile(file, label) : (given as string);
}

function checkUrl(entry: SinkEntry, value: string): URL {
  if (!URL.canParse(value)) throw invalid(entry, 'the URL is none', 'Write it whole, as in https://hooks.example.com/gate.');
  const url = new URL(value);
  if (url.username !== '' || url.password !== '') throw invalid(entry, 'the URL must not hold a user name or a password');
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopbackHost(url.hostname))) return url;
  throw invalid(entry, 'the URL must be https (plain http is for loopback only)');
}

function checkSecret(entry: SinkEntry, secret: string): string {
  if (secret.length >= secretLengthMin) return secret;
  throw invalid(entry, `the secret is shorter than ${secretLengthMin} characters`, 'Make one with: openssl rand -hex 32');
}

function invalid({ name }: SinkEntry, problem: string, hint?: string): GateError {
  return new GateError('config-invalid', `notification "${name}": ${problem}`, { ...(hint !== undefined && { hint }) });
}
