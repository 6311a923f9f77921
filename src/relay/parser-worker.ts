/** The worker thread of long-texts.ts: one text in, what it comes to out, a piece at a time; null when the parser itself broke. */
import { parentPort, workerData } from 'node:worker_threads';
import { loadParser, loadSyntaxParser, type Grammar, type ParsedSql, type Syntax } from '../sql/parser.ts';
import { checkRewritten, type Rewritten } from '../mask/verify.ts';
import { cutIntoPieces, type Piece } from '../sql/pieces.ts';
import { shapeOf } from '../sql/shape.ts';
import { extentProblem } from '../sql/extent.ts';
import { packFacts } from '../sql/packed-facts.ts';
import type { Message, Order } from './long-texts.ts';

const { grammar } = workerData as { readonly grammar: Grammar };
const parsers = Promise.all([loadParser(grammar), loadSyntaxParser(grammar)]);
type Parsers = readonly [(sql: string) => ParsedSql, (sql: string) => Syntax | undefined];
/** Of the last order, as far as they have not been asked for yet. */
let pieces: Iterator<Piece, undefined> | undefined;

parentPort?.on('message', (message: Message) => {
  if (message.wants === 'nothing') pieces = undefined;
  else void parsers.then(([parse, parseSyntax]) => parentPort?.postMessage(answerTo(message, parse, parseSyntax)));
});

function workOn(order: Order, ...[parse, parseSyntax]: Parsers): unknown {
  switch (order.wants) {
    case 'facts': {
      const parsed = parse(order.sql);
      const problem = parsed.ok ? extentProblem(parsed.statement) : undefined;
      return problem === undefined ? { facts: packFacts(order.sql, { ...parsed, shape: shapeOf(parsed.recordedSql) }) } : { problem };
    }
    case 'syntax':
      return { syntax: parseSyntax(order.sql) };
    case 'check':
      return { check: check(order, parseSyntax) };
  }
}

function check({ sql, rewritten, edits }: Extract<Order, { wants: 'check' }>, parseSyntax: (sql: string) => Syntax | undefined): Rewritten {
  const before = parseSyntax(sql);
  return checkRewritten(before, edits.length === 0 ? before : parseSyntax(rewritten), edits);
}

function answerTo(message: Exclude<Message, { wants: 'nothing' }>, ...loaded: Parsers): Piece | null {
  try {
    if (message.wants !== 'more') pieces = cutIntoPieces(workOn(message, ...loaded));
    return pieces?.next().value ?? null;
  } catch {
    return null;
  }
}
