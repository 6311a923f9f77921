/** What changed from one text to the next, as a unified diff. */

type Line = { readonly mark: ' ' | '-' | '+'; readonly text: string };

/** Lines around a change. */
const contextLines = 3;
/** Pairs of lines that are compared; texts that differ in more than that are shown as replaced. */
const pairsMax = 4_000_000;

/** Empty for texts that are the same. */
export function unifiedDiff(before: string, after: string, names: readonly [string, string]): string {
  const lines = compare(splitLines(before), splitLines(after));
  const changed = lines.flatMap(({ mark }, index) => (mark === ' ' ? [] : [index]));
  if (changed.length === 0) return '';
  const hunks: string[] = [`--- ${names[0]}`, `+++ ${names[1]}`];
  for (let at = 0; at < changed.length; ) {
    let last = at;
    while ((changed[last + 1] ?? Infinity) - (changed[last] ?? 0) <= 2 * contextLines) last++;
    const from = Math.max(0, (changed[at] ?? 0) - contextLines);
    const to = Math.min(lines.length, (changed[last] ?? 0) + contextLines + 1);
    hunks.push(headOf(lines, from, to), ...lines.slice(from, to).map(({ mark, text }) => `${mark}${text}`));
    at = last + 1;
  }
  return `${hunks.join('\n')}\n`;
}

function headOf(lines: readonly Line[], from: number, to: number): string {
  const count = (list: readonly Line[], other: '-' | '+') => list.filter(({ mark }) => mark !== other).length;
  const [start, part] = [lines.slice(0, from), lines.slice(from, to)];
  const side = (other: '-' | '+') => {
    const length = count(part, other);
    return `${count(start, other) + (length === 0 ? 0 : 1)},${length}`;
  };
  return `@@ -${side('+')} +${side('-')} @@`;
}

function splitLines(text: string): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  else lines.push('\\ No newline at end of file');
  return lines;
}

/** By the longest common subsequence, past what both begin and end with. */
function compare(before: readonly string[], after: readonly string[]): Line[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const same = (lines: readonly string[]) => lines.map((text): Line => ({ mark: ' ', text }));
  const middle = compareMiddle(before.slice(start, before.length - end), after.slice(start, after.length - end));
  return [...same(before.slice(0, start)), ...middle, ...same(before.slice(before.length - end))];
}

function compareMiddle(before: readonly string[], after: readonly string[]): Line[] {
  const removed = (text: string): Line => ({ mark: '-', text });
  const added = (text: string): Line => ({ mark: '+', text });
  if (before.length * after.length > pairsMax) return [...before.map(removed), ...after.map(added)];
  const width = after.length + 1;
  const longest = new Uint32Array((before.length + 1) * width);
  const at = (row: number, column: number) => longest[row * width + column] ?? 0;
  for (let row = before.length - 1; row >= 0; row--) {
    for (let column = after.length - 1; column >= 0; column--) {
      const isSame = before[row] === after[column];
      longest[row * width + column] = isSame ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const lines: Line[] = [];
  for (let [row, column] = [0, 0]; row < before.length || column < after.length; ) {
    const [one, other] = [before[row], after[column]];
    if (one !== undefined && one === other) {
      lines.push({ mark: ' ', text: one });
      row++;
      column++;
    } else if (one !== undefined && (other === undefined || at(row + 1, column) >= at(row, column + 1))) {
      lines.push(removed(one));
      row++;
    } else {
      lines.push(added(other ?? ''));
      column++;
    }
  }
  return lines;
}
