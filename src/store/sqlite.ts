/** The SQLite engines behind the interface that kysely asks for: Node's own where it has one, else WebAssembly. */
import { closeSync, existsSync, openSync, rmdirSync } from 'node:fs';
import type { SqliteDatabase } from 'kysely';

export type SqliteEngine = 'node' | 'wasm';

/** The engines that this process can use, the better one first. Node has one without a flag since 22.13. */
export function availableEngines(): SqliteEngine[] {
  return loadNodeSqlite() === undefined ? ['wasm'] : ['node', 'wasm'];
}

/** Opens a database file (0600). The caller holds the lock of its directory. Commits are durable when they return. */
export async function openSqlite(path: string, engine: SqliteEngine): Promise<SqliteDatabase> {
  // SQLite makes its files readable for all; it keeps the mode of those it finds.
  for (const name of [path, `${path}-wal`]) closeSync(openSync(name, 'a', 0o600));
  return engine === 'node' ? openNodeSqlite(path) : openWasmSqlite(path);
}

/** What is used of node:sqlite, whose types come with later versions of Node than the oldest that runs this. */
type NodeSqlite = {
  DatabaseSync: new (path: string) => {
    exec(sql: string): void;
    close(): void;
    prepare(sql: string): {
      all(...parameters: unknown[]): unknown[];
      run(...parameters: unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint };
      iterate(...parameters: unknown[]): IterableIterator<unknown>;
    };
  };
};

function loadNodeSqlite(): NodeSqlite | undefined {
  // Node 22 warns on stderr that the module is experimental. The load is synchronous, so nothing else can be muted.
  const warner: { emitWarning: unknown } = process;
  const { emitWarning } = warner;
  warner.emitWarning = () => {};
  try {
    // A bundler would turn import('node:sqlite') into import('sqlite'), which does not exist.
    const module = process.getBuiltinModule('node:sqlite');
    return isNodeSqlite(module) ? module : undefined;
  } finally {
    warner.emitWarning = emitWarning;
  }
}

function isNodeSqlite(module: object | undefined): module is NodeSqlite {
  return module !== undefined && 'DatabaseSync' in module;
}

function openNodeSqlite(path: string): SqliteDatabase {
  const module = loadNodeSqlite();
  if (module === undefined) throw new Error('this version of Node has no SQLite of its own');
  const database = new module.DatabaseSync(path);
  // Somebody may look at the file with another tool meanwhile.
  database.exec('pragma busy_timeout = 5000');
  database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma secure_delete = on');
  return {
    close: () => database.close(),
    prepare: (sql) => {
      const statement = database.prepare(sql);
      return {
        reader: isReader(sql),
        all: (parameters) => statement.all(...parameters.map(toValue)),
        run: (parameters) => statement.run(...parameters.map(toValue)),
        iterate: (parameters) => statement.iterate(...parameters.map(toValue)),
      };
    },
  };
}

async function openWasmSqlite(path: string): Promise<SqliteDatabase> {
  const { default: sqlite } = await import('node-sqlite3-wasm');
  // This build locks with a directory, which outlives a killed process. Who holds the state directory may clear it.
  if (existsSync(`${path}.lock`)) rmdirSync(`${path}.lock`);
  const database = new sqlite.Database(path);
  // Without shared memory a write-ahead log needs exclusive locking, set before anything is read.
  database.exec('pragma locking_mode = exclusive');
  database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma secure_delete = on');
  return {
    close: () => database.close(),
    prepare: (sql) => ({
      reader: isReader(sql),
      // A prepared statement of this build lives until it is finalized; these two do so themselves.
      all: (parameters) => database.all(sql, parameters.map(toValue)),
      run: (parameters) => database.run(sql, parameters.map(toValue)),
      iterate: (parameters) => database.all(sql, parameters.map(toValue))[Symbol.iterator](),
    }),
  };
}

/** Only what means the same in every engine: times are text, and a boolean or undefined is a mistake. */
function toValue(parameter: unknown): string | number | null {
  if (parameter === null || typeof parameter === 'string' || typeof parameter === 'number') return parameter;
  throw new TypeError(`a ${typeof parameter} cannot be stored`);
}

/** Whether the SQL gives rows. Not every engine tells, and the SQL is kysely's own, with every value bound. */
function isReader(sql: string): boolean {
  return /^\s*(select|with|pragma|explain|values)\b/i.test(sql) || /\breturning\b/i.test(sql);
}
