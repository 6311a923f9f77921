/** Where tests that run the relay from its source find the worker thread of its parser: in the build. */
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

export const parserWorker = pathToFileURL(join(import.meta.dirname, '..', '..', 'dist', 'parser-worker.cjs'));
