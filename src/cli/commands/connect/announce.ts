/** Shows an open tunnel: for people as a block to copy from, for programs as the event `ready`. */
import type { Io } from '../../io.ts';
import { formatRelative } from '../../output.ts';
import { formatAddress, isSocket, type Address, type PrintForm } from './address.ts';

/** The event `ready` of `--json`: fields are only ever added. */
export function readyEvent(address: Address): Record<string, unknown> {
  const { session, port, passfile, caFile } = address;
  const { id, grant, target, role, user, database, password, expiresAt } = session;
  return {
    event: 'ready',
    host: port.host,
    port: port.port,
    user,
    password,
    database,
    url: formatAddress(address, 'url'),
    passfile,
    session: id,
    grant,
    target,
    role,
    expiresAt,
    ...(caFile !== undefined && { sslmode: 'verify-full', sslrootcert: caFile }),
  };
}

/** One form alone on stdout, the rest as words on stderr. */
export async function printAddress(io: Io, address: Address, form: PrintForm): Promise<void> {
  const { session } = address;
  io.say(headline(session.target, session.role, address));
  await io.write(`${formatAddress(address, form)}\n`);
}

export async function writeBlock(io: Io, address: Address): Promise<void> {
  const { session, port, caFile } = address;
  const colors = await io.colors();
  const rows: [string, string][] = [
    ['host', port.host],
    ['port', String(port.port)],
    ['user', session.user],
    ['password', session.password],
    ['database', session.database],
    ...(caFile === undefined ? [] : ([['sslmode', 'verify-full'], ['root cert', caFile]] as [string, string][])),
  ];
  const forms: [string, string | undefined][] = [
    ['psql', formatAddress(address, 'psql')],
    ['URL', formatAddress(address, 'url')],
    ['JDBC', isSocket(address) ? undefined : formatAddress(address, 'jdbc')],
    ['env', formatAddress(address, 'env')],
  ];
  const lines = [
    headline(colors.bold(session.target), colors.bold(session.role), address),
    '',
    ...rows.map(([name, value]) => `  ${name.padEnd(9)} ${value}`),
    '',
    ...forms.flatMap(([name, value]) => (value === undefined ? [] : [`  ${name.padEnd(9)} ${value}`])),
    '',
  ];
  await io.write(`${lines.join('\n')}\n`);
}

export function headline(target: string, role: string, { session }: Pick<Address, 'session'>): string {
  return `${target} as ${role}, until ${session.expiresAt} (${formatRelative(session.expiresAt, new Date())}), session ${session.id}`;
}
