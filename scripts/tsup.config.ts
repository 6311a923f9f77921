/** The build: one CommonJS entry with a lazy chunk per command, since that starts fastest on Node. */
import { defineConfig } from 'tsup';

export default defineConfig({
  entry: { gate: 'bin/gate.ts', 'parser-worker': 'src/relay/parser-worker.ts', 'relay-worker': 'src/relay/worker.ts' },
  outDir: 'dist.next',
  format: ['cjs'],
  target: 'node20',
  platform: 'node',
  splitting: true,
  clean: true,
  minifySyntax: true,
  minifyWhitespace: true,
  silent: true,
  // Bundled, so that starting does not mean opening a hundred small files.
  noExternal: ['commander', 'chalk', 'zod'],
  esbuildOptions(options) {
    // tsup makes CommonJS of the chunks with sucrase, which rewrites these two by text and gets some forms wrong.
    // What stands behind a test for __dirname never runs there, and must still be CommonJS.
    options.define = { ...options.define, 'import.meta.url': '""' };
    options.supported = { 'nullish-coalescing': false, 'optional-chain': false };
  },
});
