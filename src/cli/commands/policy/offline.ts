/** What the policy commands need without a relay: files, the policy in them, and SQL as policy sees it. */
import type { Examined } from '../../../policy/examined.ts';
import type { Policy } from '../../../policy/role.ts';
import { GateError, messageOf } from '../../../errors/errors.ts';
import type { Syntax } from '../../../sql/parser.ts';
import type { SessionNames } from '../../../sql/resolve.ts';

const fileBytesMax = 16 * 1024 * 1024;

/** UTF-8 text of a file; "-" is standard input. Fails with `usage`. */
export async function readText(file: string): Promise<string> {
  const name = file === '-' ? 'standard input' : file;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    const stream: AsyncIterable<Buffer> = file === '-' ? process.stdin : (await import('node:fs')).createReadStream(file);
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > fileBytesMax) throw new GateError('usage', `${name} is longer than ${fileBytesMax} bytes`);
      chunks.push(chunk);
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    if (error instanceof GateError) throw error;
    throw new GateError('usage', `cannot read ${name}: ${messageOf(error)}`, { cause: error });
  }
}

export async function loadPolicy(file: string): Promise<Policy> {
  const [text, { parsePolicy }] = await Promise.all([readText(file), import('../../../policy/policy.ts')]);
  return parsePolicy(text, file);
}

/** Loads the parser, which takes a moment, and returns what turns a text into facts. */
export async function loadExaminer(): Promise<(sql: string, names: SessionNames) => Examined> {
  const [{ loadParser, ParserBroken }, { examineParsed }] = await Promise.all([
    import('../../../sql/parser.ts'),
    import('../../../policy/examined.ts'),
  ]);
  const parse = await loadParser();
  return (sql, names) => {
    try {
      return examineParsed(parse(sql), names);
    } catch (error) {
      if (!(error instanceof ParserBroken)) throw error;
      return { ok: false, rule: 'parse', reason: error.message };
    }
  };
}

/** For masks: what turns a text into its tree. Undefined where it cannot be parsed. */
export async function loadSyntax(): Promise<(sql: string) => Syntax | undefined> {
  const { loadSyntaxParser, ParserBroken } = await import('../../../sql/parser.ts');
  const parse = await loadSyntaxParser();
  return (sql) => {
    try {
      return parse(sql);
    } catch (error) {
      if (!(error instanceof ParserBroken)) throw error;
      return undefined;
    }
  };
}

/** A catalog that a file writes down; without one, no name is known. */
export async function loadNames(file: string | undefined): Promise<SessionNames> {
  const { CatalogFile, sessionNames } = await import('../../../policy/catalog-file.ts');
  if (file === undefined) return sessionNames(undefined);
  const [text, { parseYaml }] = await Promise.all([readText(file), import('../../../yaml/yaml-file.ts')]);
  return sessionNames(parseYaml(text, file, CatalogFile));
}
