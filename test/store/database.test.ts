import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sql } from 'kysely';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import { availableEngines } from '../../src/store/sqlite.ts';
import { openStateDirectory, type StateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from './temporary-directory.ts';

async function openState(): Promise<StateDirectory> {
  const state = await openStateDirectory(await temporaryDirectory());
  onTestFinished(() => state.close());
  return state;
}

const grant = {
  id: 'g1',
  issuer: 'i',
  subject: 's',
  principal_kind: 'human',
  name: 'n',
  groups: '[]',
  target: 't',
  role: 'r',
  reason: null,
  created_at: '2026-11-02T10:00:00.000Z',
  expires_at: '2026-11-02T10:00:00.000Z',
  ticket: null,
  request_id: null,
  revoked_at: null,
  revoked_by: null,
  revoke_reason: null, chain: null, read_only: 0,
} as const;

describe.each(availableEngines())('the database on SQLite (%s)', (engine) => {
  test('keeps what was saved when it is closed and opened again', async () => {
    const state = await openState();
    const first = await openDatabase(state, engine);
    await first.insertInto('grants').values(grant).execute();
    await first.destroy();
    const second = await openDatabase(state, engine);
    expect(await second.selectFrom('grants').selectAll().execute()).toEqual([grant]);
    await second.destroy();
  });

  test('commits through a write-ahead log, synced each time, with files that are private', async () => {
    const state = await openState();
    const database = await openDatabase(state, engine);
    await database.insertInto('grants').values(grant).execute();
    expect((await sql`pragma journal_mode`.execute(database)).rows).toEqual([{ journal_mode: 'wal' }]);
    expect((await sql`pragma synchronous`.execute(database)).rows).toEqual([{ synchronous: 2 }]);
    expect((await sql`pragma foreign_keys`.execute(database)).rows).toEqual([{ foreign_keys: 1 }]);
    const names = (await readdir(state.path)).filter((name) => name.startsWith('gate.db') && !name.endsWith('.lock'));
    expect(names).toEqual(expect.arrayContaining(['gate.db', 'gate.db-wal']));
    for (const name of names) expect((await stat(join(state.path, name))).mode & 0o777, name).toBe(0o600);
    await database.destroy();
  });

  test('opens what every other engine wrote', async () => {
    for (const other of availableEngines()) {
      const state = await openState();
      const written = await openDatabase(state, other);
      await written.insertInto('grants').values(grant).execute();
      await written.destroy();
      const database = await openDatabase(state, engine);
      expect(await database.selectFrom('grants').select('id').execute()).toEqual([{ id: 'g1' }]);
      await database.destroy();
    }
  });

  test('is refused when a newer version has changed it', async () => {
    const state = await openState();
    const database = await openDatabase(state, engine);
    await sql`insert into kysely_migration (name, timestamp) values ('9999-future', '')`.execute(database);
    await database.destroy();
    await expect(openDatabase(state, engine)).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining('changed by a newer version of gate (9999-future)'),
    });
  });

  test('is refused when the file is something else', async () => {
    const state = await openState();
    await writeFile(join(state.path, 'gate.db'), 'This is no database, however long one looks at it. '.repeat(100));
    await expect(openDatabase(state, engine)).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining('gate.db cannot be opened: file is not a database'),
    });
  });
});

test('an engine is loaded without muting anyone for longer', () => {
  const warner: { emitWarning: unknown } = process;
  const before = warner.emitWarning;
  expect(availableEngines()).toContain('wasm');
  expect(warner.emitWarning).toBe(before);
});
