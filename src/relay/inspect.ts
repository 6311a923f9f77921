/** What an approver should know of the database before saying yes: the plan's estimate, and the locks that are held. */
import type { HeldStatement } from '../grant/request.ts';
import type { TransactionStatus } from '../pgwire/backend.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { Target } from './config.ts';
import { SideConnection } from './side-connection.ts';

export type Findings = Pick<HeldStatement, 'locks' | 'rowEstimate'>;

/** Nobody waits longer than this for what is only good to know. */
const inspectTimeoutMs = 3000;
const locksMax = 20;

export type Inspected = {
  readonly text: string;
  readonly values: readonly BoundValue[];
  readonly facts: readonly StatementFacts[];
  readonly transaction: TransactionStatus;
  readonly backendPid: number;
  /** As the client set it at start-up. */
  readonly settings: Readonly<Record<string, string>>;
};

/** Never rejects, and takes a few seconds at most: what cannot be found out is left out. */
export async function inspect(target: Target, statement: Inspected): Promise<Findings> {
  const isWorthwhile = statement.transaction === 'T' || isPlannable(statement.facts);
  if (!isWorthwhile) return {};
  let connection: SideConnection | undefined;
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<Findings>((resolve) => (timer = setTimeout(() => resolve({}), inspectTimeoutMs)));
  const limits = { statement_timeout: '2000', lock_timeout: '500' };
  const look = async (): Promise<Findings> => {
    connection = await SideConnection.open(target, { ...statement.settings, ...limits });
    const locks = statement.transaction === 'T' ? await findLocks(connection, statement.backendPid) : undefined;
    const rowEstimate = isPlannable(statement.facts) ? await estimate(connection, statement) : undefined;
    return { ...(locks !== undefined && { locks }), ...(rowEstimate !== undefined && { rowEstimate }) };
  };
  try {
    return await Promise.race([look().catch(() => ({})), timeout]);
  } finally {
    clearTimeout(timer);
    connection?.close();
  }
}

/** One statement that has a plan, and calls nothing that planning could run for its effects. */
function isPlannable(facts: readonly StatementFacts[]): boolean {
  const [only] = facts;
  return facts.length === 1 && only !== undefined && !only.runsCode && /^(?:SELECT|INSERT|UPDATE|DELETE|MERGE)$/.test(only.command);
}

async function findLocks(connection: SideConnection, pid: number): Promise<string[]> {
  const rows = await connection.rows(
    `select distinct mode || ' on ' || relation::pg_catalog.regclass::text from pg_catalog.pg_locks
      where pid = ${pid} and granted and locktype = 'relation' and mode <> 'AccessShareLock'
        and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
        and relation >= 16384 order by 1 limit ${locksMax}`,
  );
  return rows.map(([lock]) => lock ?? '');
}

/** Rows that the planner expects the statement to return or change. */
async function estimate(connection: SideConnection, { text, values }: Inspected): Promise<number | undefined> {
  const [row] = await connection.rows(`explain (format json) ${text}`, values).catch(() => []);
  const [plan] = JSON.parse(row?.[0] ?? '[]') as { Plan?: Plan }[];
  const top = plan?.Plan;
  // What changes rows has a node of its own, which expects none unless they are returned; its input tells.
  const node = top?.['Node Type'] === 'ModifyTable' ? top.Plans?.[0] : top;
  return node?.['Plan Rows'];
}

type Plan = { readonly 'Node Type'?: string; readonly 'Plan Rows'?: number; readonly Plans?: readonly Plan[] };
