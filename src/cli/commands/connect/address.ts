/** How clients reach an open local port: as a URL, for JDBC, for a shell, and as variables for a child process. */
import type { LocalPort } from '../../../client/local-port.ts';
import type { OpenSession } from '../../../client/session.ts';

export type Address = {
  readonly session: OpenSession;
  readonly port: Pick<LocalPort, 'host' | 'port'>;
  readonly passfile: string;
  /** The certificate authority to trust, where the port speaks TLS. */
  readonly caFile?: string;
};

export const printForms = ['url', 'jdbc', 'env', 'psql'] as const;
export type PrintForm = (typeof printForms)[number];

/** One line, ready to paste. Undefined where there is none: JDBC has no Unix sockets of its own. */
export function formatAddress(address: Address, form: PrintForm): string | undefined {
  switch (form) {
    case 'url':
      return urlOf(address);
    case 'jdbc':
      return jdbcOf(address);
    case 'env':
      return `export ${Object.entries(variablesOf(address)).map(([name, value]) => `${name}=${quote(value)}`).join(' ')}`;
    case 'psql':
      return psqlOf(address);
  }
}

/** For libpq and all that read its variables. What else stands in the environment may name another server: see `strayVariables`. */
export function variablesOf({ session, port, passfile, caFile }: Address): Record<string, string> {
  return {
    PGHOST: port.host,
    PGPORT: String(port.port),
    PGUSER: session.user,
    PGDATABASE: session.database,
    PGPASSFILE: passfile,
    ...(caFile !== undefined && { PGSSLMODE: 'verify-full', PGSSLROOTCERT: caFile }),
  };
}

/** Variables of libpq that would lead past the local port, override its password, or ask of it what it does not speak. */
export const strayVariables = [
  'PGHOSTADDR',
  'PGSERVICE',
  'PGPASSWORD',
  'PGREQUIREPEER',
  'PGREQUIREAUTH',
  'PGCHANNELBINDING',
  'PGREQUIRESSL',
  'PGSSLMODE',
  'PGSSLNEGOTIATION',
  'PGGSSENCMODE',
] as const;

export function isSocket({ port }: Pick<Address, 'port'>): boolean {
  return port.host.startsWith('/');
}

function urlOf(address: Address): string {
  const { session, port, caFile } = address;
  const query = new URLSearchParams({
    ...(isSocket(address) && { host: port.host, port: String(port.port) }),
    ...(caFile !== undefined && { sslmode: 'verify-full', sslrootcert: caFile }),
  });
  const authority = isSocket(address) ? '' : `${port.host}:${port.port}`;
  // libpq reads a plus sign as itself, so a blank must not be written as one.
  const parameters = query.size === 0 ? '' : `?${query.toString().replaceAll('+', '%20')}`;
  return `postgresql://${encodeURIComponent(session.user)}:${session.password}@${authority}/${encodeURIComponent(session.database)}${parameters}`;
}

function jdbcOf(address: Address): string | undefined {
  if (isSocket(address)) return undefined;
  const { session, port, caFile } = address;
  const query = new URLSearchParams({
    user: session.user,
    password: session.password,
    ...(caFile !== undefined && { sslmode: 'verify-full', sslrootcert: caFile }),
  });
  return `jdbc:postgresql://${port.host}:${port.port}/${encodeURIComponent(session.database)}?${query.toString().replaceAll('+', '%20')}`;
}

function psqlOf({ session, port, passfile, caFile }: Address): string {
  const tls = caFile === undefined ? '' : ` PGSSLMODE=verify-full PGSSLROOTCERT=${quote(caFile)}`;
  return `PGPASSFILE=${quote(passfile)}${tls} psql -h ${quote(port.host)} -p ${port.port} -U ${quote(session.user)} ${quote(session.database)}`;
}

/** For POSIX shells. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
