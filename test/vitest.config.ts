/** How the tests run: real servers take their time on small machines, so limits are generous and files few at once. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
    env: { GATE_KEYCHAIN: 'off' },
  },
});
