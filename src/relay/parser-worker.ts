/** The worker thread of parsing.ts: one text in, its facts out, or null when the parser itself broke. */
import { parentPort, workerData } from 'node:worker_threads';
import { loadParser, type Grammar } from '../sql/parser.ts';

const parser = loadParser((workerData as { readonly grammar: Grammar }).grammar);

parentPort?.on('message', (sql: string) => {
  void parser.then((parse) => {
    try {
      parentPort?.postMessage(parse(sql));
    } catch {
      parentPort?.postMessage(null);
    }
  });
});
