/** The worker thread of parsing.ts: one text in, its facts out, or null when the parser itself broke. */
import { parentPort } from 'node:worker_threads';
import { loadParser } from '../sql/parser.ts';

const parser = loadParser();

parentPort?.on('message', (sql: string) => {
  void parser.then((parse) => {
    try {
      parentPort?.postMessage(parse(sql));
    } catch {
      parentPort?.postMessage(null);
    }
  });
});
