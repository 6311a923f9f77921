/** A process that opens a state directory, says so, and holds it until it is killed or its input ends. */
import { messageOf } from '../../src/errors/errors.ts';
import { openDatabase } from '../../src/store/database.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';

const [path = ''] = process.argv.slice(2);
try {
  const state = await openStateDirectory(path);
  const database = await openDatabase(state, 'wasm');
  await database.selectFrom('grants').selectAll().execute();
  process.stdout.write('held\n');
  for await (const _ of process.stdin);
  await database.destroy();
  await state.close();
} catch (error) {
  process.stdout.write(`${messageOf(error)}\n`);
}
