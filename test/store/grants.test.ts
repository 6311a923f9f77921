import { onTestFinished } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import { SqliteGrantStore } from '../../src/store/grants.ts';
import { availableEngines } from '../../src/store/sqlite.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { grantStoreContract } from './grant-store-contract.ts';
import { temporaryDirectory } from './temporary-directory.ts';

for (const engine of availableEngines()) {
  grantStoreContract(`on SQLite (${engine})`, async () => {
    const state = await openStateDirectory(await temporaryDirectory());
    const database = await openDatabase(state, engine);
    onTestFinished(async () => {
      await database.destroy();
      await state.close();
    });
    return new SqliteGrantStore(database);
  });
}
