/** The worker thread of parsing.ts: one text in, its facts or its tree out, or null when the parser itself broke. */
import { parentPort, workerData } from 'node:worker_threads';
import { loadParser, loadSyntaxParser, type Grammar } from '../sql/parser.ts';
import type { Answer, Order } from './parsing.ts';

const { grammar } = workerData as { readonly grammar: Grammar };
const parsers = Promise.all([loadParser(grammar), loadSyntaxParser(grammar)]);

parentPort?.on('message', ({ sql, wants }: Order) => {
  void parsers.then(([parse, parseSyntax]) => {
    parentPort?.postMessage(answerTo(() => (wants === 'facts' ? { facts: parse(sql) } : { syntax: parseSyntax(sql) })));
  });
});

function answerTo(ask: () => Answer): Answer {
  try {
    return ask();
  } catch {
    return null;
  }
}
