/** Where the SQL and its parameters come from: the words of the command line in their order, files, standard input. */
import type { SqlParameter, SqlText } from '../../../client/sql-text.ts';
import { GateError, messageOf } from '../../../errors/errors.ts';
import { parametersOfJson, readParameter } from './parameters.ts';

/** Largest SQL text or file of parameters that is read; the relay's own limit is lower and may differ. */
const inputBytesMax = 64 * 1024 * 1024;
/** The protocol counts them in two bytes. */
const parametersMax = 65_535;

/** A flag that says what to run, as it stood on the command line. */
export type Word = { readonly flag: 'sql' | 'file' | 'param' | 'param-file'; readonly value: string };
type Input = { readonly file: string } | 'stdin';

/** A text that is to be run, before anything is read. */
export type Plan = { readonly source: { readonly text: string } | Input; readonly parameters: readonly Word[] };

/** A text with what people call it. */
export type NamedText = SqlText & { readonly name: string };

/**
 * The texts in the order of the command line. A parameter belongs to the text before it, and to the first text where
 * there is none before it. Fails with `usage`.
 */
export function planTexts(operand: string | undefined, words: readonly Word[]): Plan[] {
  const hint = 'Say what to run with --sql TEXT, --file FILE, or - for standard input.';
  if (operand !== undefined && operand !== '-') throw new GateError('usage', `"${operand}" is one argument too many`, { hint });
  const plans: { source: Plan['source']; parameters: Word[] }[] = [];
  const early: Word[] = [];
  if (operand === '-') plans.push({ source: 'stdin', parameters: [] });
  for (const word of words) {
    if (word.flag === 'param' || word.flag === 'param-file') (plans.at(-1)?.parameters ?? early).push(word);
    else if (operand === '-') {
      throw new GateError('usage', 'the SQL to run is given in more than one way', { hint: 'With --file - standard input takes its place among the others.' });
    } else plans.push({ source: word.flag === 'sql' ? { text: word.value } : inputOf(word.value), parameters: [] });
  }
  const [first] = plans;
  if (first === undefined) throw new GateError('usage', 'there is no SQL to run', { hint });
  first.parameters.unshift(...early);
  const fromStdin = plans.filter(({ source }) => source === 'stdin').length;
  const parametersFromStdin = words.filter(({ flag, value }) => flag === 'param-file' && value === '-').length;
  if (fromStdin + parametersFromStdin > 1) throw new GateError('usage', 'standard input can be read only once');
  return plans;
}

export function readsStdin(plans: readonly Plan[]): boolean {
  return plans.some(({ source, parameters }) => source === 'stdin' || parameters.some(({ flag, value }) => flag === 'param-file' && value === '-'));
}

/** All that is to be sent, checked as far as it can be without a server. Fails with `usage`. */
export async function readTexts(plans: readonly Plan[]): Promise<NamedText[]> {
  const texts: NamedText[] = [];
  for (const { source, parameters } of plans) {
    const name = source === 'stdin' || 'file' in source ? nameOf(source) : '--sql';
    const sql = source === 'stdin' || 'file' in source ? decode(await readBytes(source), name) : source.text;
    const of = plans.length === 1 ? 'the SQL text' : `the SQL text ${texts.length + 1} of ${plans.length} (${name})`;
    if (sql.trim() === '') throw new GateError('usage', `${of} is empty, so there is nothing to run`);
    if (sql.includes('\0')) throw new GateError('usage', `${of} holds a zero byte, which PostgreSQL cannot take`);
    texts.push({ name, sql, parameters: await readParameters(parameters) });
  }
  return texts;
}

async function readParameters(words: readonly Word[]): Promise<SqlParameter[]> {
  const read: SqlParameter[] = [];
  for (const { flag, value } of words) {
    const number = read.length + 1;
    if (flag === 'param') read.push(await readParameter(value, number, (file) => readBytes({ file })));
    else {
      const input = inputOf(value);
      read.push(...parametersOfJson(decode(await readBytes(input), nameOf(input)), nameOf(input), number));
    }
  }
  if (read.length > parametersMax) throw new GateError('usage', `a statement takes at most ${parametersMax} parameters`);
  return read;
}

function inputOf(file: string): Input {
  return file === '-' ? 'stdin' : { file };
}

async function readBytes(input: Input): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    const stream: AsyncIterable<Buffer> = input === 'stdin' ? process.stdin : (await import('node:fs')).createReadStream(input.file);
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > inputBytesMax) throw new GateError('usage', `${nameOf(input)} is longer than ${inputBytesMax} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof GateError) throw error;
    throw new GateError('usage', `cannot read ${nameOf(input)}: ${messageOf(error)}`, { cause: error });
  }
  return Buffer.concat(chunks);
}

/** A byte order mark at the beginning is dropped, as psql does. */
function decode(bytes: Buffer, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new GateError('usage', `${name} is not UTF-8 text`, { cause: error });
  }
}

function nameOf(input: Input): string {
  return input === 'stdin' ? 'standard input' : input.file;
}
