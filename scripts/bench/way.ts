/** A way to the database: where clients connect, and which processes stand in between. */
export type Way = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Between client and database; a pooler counts as a relay. */
  readonly pids: { readonly local?: number; readonly relay?: number };
};

/** For libpq. */
export function libpqEnvironment({ host, port, user, password, database }: Way): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'));
  return {
    ...Object.fromEntries(inherited),
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: user,
    PGPASSWORD: password,
    PGDATABASE: database,
    PGSSLMODE: 'disable',
    PGGSSENCMODE: 'disable',
    LC_ALL: 'C',
  };
}
