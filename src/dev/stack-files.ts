/** The files that a demo stack lives from: relay.yaml, policy.yaml, passwords, and the ports of the last run. */
import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';
import { statementKinds } from '../sql/kind.ts';

export type DemoTarget = {
  readonly name: string;
  readonly description: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password?: string;
  readonly tls: 'verify-full' | 'disable';
  readonly caFile?: string;
};

const Port = z.int().check(z.minimum(1), z.maximum(65_535));
const Remembered = z.object({
  ports: z.optional(z.object({ relay: Port, provider: Port, postgres: Port })),
  /** SHA-256 of the policy.yaml that was written last, to tell an edited one. */
  policyHash: z.optional(z.string()),
});
/** Kept between runs on the same state directory. */
export type Remembered = z.infer<typeof Remembered>;

const TARGET_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/**
 * Makes the directory. Secrets go into `secrets` below it (0700). For root the directory itself lets other users pass
 * through, though not look: PostgreSQL runs as another user, in a directory of its own inside.
 */
export async function makeStateDirectory(path: string): Promise<string> {
  const directory = resolve(path);
  const mode = process.getuid?.() === 0 ? 0o711 : 0o700;
  try {
    await mkdir(directory, { recursive: true, mode });
    if (mode === 0o711) await chmod(directory, mode);
    await mkdir(join(directory, 'secrets'), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new GateError('usage', `${directory} cannot hold the state: ${messageOf(error)}`, {
      hint: 'Name a directory that is yours, or one to make, with --state.',
      cause: error,
    });
  }
  return directory;
}

export async function readRemembered(directory: string): Promise<Remembered> {
  try {
    return Remembered.parse(JSON.parse(await readFile(join(directory, 'dev.json'), 'utf8')));
  } catch {
    // Missing on the first run; after a damage only the ports differ.
    return {};
  }
}

export async function saveRemembered(directory: string, remembered: Remembered): Promise<void> {
  await replaceFile(join(directory, 'dev.json'), `${JSON.stringify(remembered, null, 2)}\n`);
}

/** A database that somebody adds; `password` serves where the DSN holds none. */
export type AddedTarget = { readonly name: string; readonly dsn: string; readonly password?: string };

/** NAME=DSN of `--target`. Fails with `usage`, never repeating the DSN, which may hold a password. */
export function parseTarget({ name, dsn, password: passwordBeside = '' }: AddedTarget): DemoTarget {
  if (!TARGET_NAME.test(name)) {
    throw new GateError('usage', `${JSON.stringify(name)} is not a name for a target.`, {
      hint: 'Use lower-case letters, digits, ".", "_" and "-": --target my-db=postgres://user@host/database',
    });
  }
  const url = URL.canParse(dsn) ? new URL(dsn) : undefined;
  if (url === undefined || !['postgres:', 'postgresql:'].includes(url.protocol) || url.hostname === '') {
    throw new GateError('usage', `The target ${name} needs a postgres:// URL with a host.`, {
      hint: `For example: --target ${name}=postgres://user:password@db.example.com:5432/database`,
    });
  }
  const user = decodeURIComponent(url.username);
  if (user === '') throw new GateError('usage', `The URL of the target ${name} names no user.`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const password = decodeURIComponent(url.password) || passwordBeside;
  const caFile = url.searchParams.get('sslrootcert');
  return {
    name,
    description: `${host}, added with --target`,
    host,
    port: Number(url.port || 5432),
    database: decodeURIComponent(url.pathname.slice(1)) || user,
    user,
    ...(password !== '' && { password }),
    tls: tlsOf(url.searchParams.get('sslmode'), host),
    ...(caFile !== null && caFile !== '' && caFile !== 'system' && { caFile: resolve(caFile) }),
  };
}

/** The relay knows two ways; whatever asks for some encryption gets the checked one. */
function tlsOf(sslmode: string | null, host: string): 'verify-full' | 'disable' {
  if (sslmode !== null) return sslmode === 'disable' ? 'disable' : 'verify-full';
  const isLoopback = host === 'localhost' || host === '::1' || host.startsWith('127.');
  return isLoopback ? 'disable' : 'verify-full';
}

export type RelayFileOptions = {
  readonly directory: string;
  readonly port: number;
  /** PEM files; without them the relay speaks plain HTTP. */
  readonly tls?: { readonly certificateFile: string; readonly keyFile: string };
  readonly issuer: string;
  readonly clientId: string;
  readonly audience: string;
  readonly targets: readonly DemoTarget[];
  /** Of the user; without it policy.yaml is written beside relay.yaml. */
  readonly policyFile?: string;
  /** How old tokens may be with which something is decided; the relay's default without it. */
  readonly groupsMaxAge?: string;
};

/** Writes relay.yaml and the password files, and returns the path of the former. */
export async function writeRelayFile(options: RelayFileOptions): Promise<string> {
  const { directory } = options;
  const targets: Record<string, unknown> = {};
  for (const { name, password, ...target } of options.targets) {
    const passwordFile = `secrets/${name}.password`;
    if (password !== undefined) await replaceFile(join(directory, passwordFile), password);
    targets[name] = { ...target, ...(password !== undefined && { passwordFile: `./${passwordFile}` }) };
  }
  const document = {
    listen: `127.0.0.1:${options.port}`,
    ...(options.tls !== undefined && { tls: options.tls }),
    stateDirectory: './relay',
    policyFile: options.policyFile === undefined ? './policy.yaml' : resolve(options.policyFile),
    issuer: {
      url: options.issuer,
      clientId: options.clientId,
      audience: options.audience,
      scopes: ['openid', 'profile', 'email', 'offline_access'],
      groupsClaim: 'groups',
      nameClaim: 'preferred_username',
      ...(options.groupsMaxAge !== undefined && { groupsMaxAge: options.groupsMaxAge }),
    },
    targets,
  };
  const file = join(directory, 'relay.yaml');
  await replaceFile(file, `# Written by gate dev at each start; changes are lost.\n${stringify(document)}`);
  return file;
}

const exempt = [
  { groups: ['dba'], reason: 'they look after the tables', until: '2099-12-31' },
  { roles: ['admin'], reason: 'the role itself takes the approval of a DBA', until: '2099-12-31' },
];
const shopMasks = {
  rules: [
    {
      name: 'cards',
      columns: ['public.customers.card_number'],
      mask: { partial: { last: 4 } },
      exempt,
    },
    {
      name: 'contact',
      columns: ['public.customers.email', 'public.customers.phone'],
      mask: 'redact',
      exempt,
    },
    // Every other column of the table is shown only because it is named here: a new one stays hidden until somebody does.
    { name: 'rest', columns: ['id', 'name', 'country', 'created_at'].map((column) => `public.customers.${column}`), mask: 'clear' },
  ],
};

/** Writes policy.yaml unless someone has edited it, and returns the hash of what gate dev would have written. */
export async function writePolicyFile(
  directory: string,
  options: { targets: readonly DemoTarget[]; lastHash: string | undefined; machines?: Readonly<Record<string, unknown>> | undefined },
): Promise<string> {
  const approval = { by: ['dbas'], within: '10m' };
  const roles = {
    engineer: {
      groups: ['engineering'],
      allow: ['read', 'write'],
      require: ['reason'],
      maxDuration: '8h',
      rules: [
        {
          name: 'many-rows',
          effect: 'hold',
          commands: ['UPDATE', 'DELETE', 'MERGE', 'TRUNCATE'],
          bounded: false,
          reason: 'it may change every row of the table',
          approval,
        },
      ],
    },
    dba: { groups: ['dba'], allow: [...statementKinds], require: ['reason'], maxDuration: '1h' },
    reader: { groups: ['operations'], allow: ['read'], maxDuration: '8h' },
    admin: { groups: ['engineering'], allow: [...statementKinds], require: ['reason'], approval, maxDuration: '1h' },
    ...(options.machines && {
      ci: { groups: ['ci'], allow: ['read'], require: ['reason', 'human'], maxDuration: '15m', rules: [{ name: 'writes', effect: 'hold', kinds: ['write'], approval }] },
    }),
  };
  // Only the shop has these tables; a database of somebody's own gets its masks from them.
  const masksOf = (name: string) => (name === 'prod-db' ? { masks: shopMasks } : {});
  const targets = Object.fromEntries(options.targets.map(({ name }) => [name, { ...masksOf(name), roles }]));
  const text = `# Who may do what. Edit it: the relay takes it up at once, and gate dev keeps an edited file.
${stringify(
    { auditors: ['audit'], administrators: ['operations'], approvers: { dbas: { groups: ['dba'] } }, ...options.machines, targets },
    { aliasDuplicateObjects: false },
  )}`;
  const file = join(directory, 'policy.yaml');
  const current = await readFile(file, 'utf8').catch(() => undefined);
  const isEdited = current !== undefined && hash(current) !== options.lastHash;
  if (isEdited && current !== text) return options.lastHash ?? '';
  await replaceFile(file, text);
  return hash(text);
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Written beside and renamed, 0600, so that a reader sees the old file or the new one. */
async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
