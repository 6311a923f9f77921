import { ColumnSeal } from '../../src/store/column-seal.ts';
import { onTestFinished } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import { SqliteGrantStore } from '../../src/store/grants.ts';
import { SqlitePrincipalStore } from '../../src/store/principals.ts';
import { SqliteRequestStore } from '../../src/store/requests.ts';
import { availableEngines, type SqliteEngine } from '../../src/store/sqlite.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { principalStoreContract } from './principal-store-contract.ts';
import { requestStoreContract } from './request-store-contract.ts';
import { temporaryDirectory } from './temporary-directory.ts';

async function open(engine: SqliteEngine) {
  const state = await openStateDirectory(await temporaryDirectory());
  const database = await openDatabase(state, engine);
  onTestFinished(async () => {
    await database.destroy();
    await state.close();
  });
  return database;
}

for (const engine of availableEngines()) {
  requestStoreContract(`on SQLite (${engine})`, async () => {
    const database = await open(engine);
    return { store: new SqliteRequestStore(database, new ColumnSeal(Buffer.alloc(32))), grants: new SqliteGrantStore(database) };
  });
  principalStoreContract(`on SQLite (${engine})`, async () => new SqlitePrincipalStore(await open(engine)));
}
