/** How far an export has come: a file that is replaced only after the sink has taken the entries before it. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod/mini';
import { GateError } from '../errors/errors.ts';
import { systemCodeOf, writePrivateFile } from './private-file.ts';

const Cursor = z.object({
  v: z.literal(1),
  /** Of the log. */
  origin: z.string(),
  format: z.string(),
  /** The place of the next entry. */
  next: z.int().check(z.nonnegative()),
  /** Length of the file that the entries before it stand in, where that is where they go. */
  bytes: z.optional(z.int().check(z.nonnegative())),
});
export type Cursor = z.infer<typeof Cursor>;

/** Undefined where there is none yet. Fails with `usage` for a file of something else. */
export async function loadCursor(path: string): Promise<Cursor | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new GateError('usage', `the cursor ${path} cannot be read (${systemCodeOf(error) ?? 'unknown'})`, { cause: error });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  const cursor = Cursor.safeParse(json);
  if (cursor.success) return cursor.data;
  throw new GateError('usage', `${path} is not a cursor of gate audit export`, { hint: 'Name a new file.' });
}

/** Durable when this resolves. */
export async function saveCursor(path: string, cursor: Cursor): Promise<void> {
  await writePrivateFile(path, `${JSON.stringify(cursor)}\n`);
}
