/** The colours of a transcript on a terminal. */
import type { TextKind } from '../audit/words.ts';
import type { Io } from './io.ts';

export async function createStyle(io: Io): Promise<(kind: TextKind, text: string) => string> {
  const colors = await io.colors();
  const styles: Readonly<Record<TextKind, (text: string) => string>> = {
    label: colors.bold,
    time: colors.dim,
    prompt: colors.cyan,
    sql: colors.bold,
    ok: colors.green,
    error: colors.red,
    refused: colors.bold.red,
    unknown: colors.bold.yellow,
    note: colors.dim,
  };
  return (kind, text) => styles[kind](text);
}
