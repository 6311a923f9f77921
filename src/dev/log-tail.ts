/** The end of a program's log, short enough for an error text. */

export function lastLines(text: string): string {
  return text.trim().split('\n').slice(-5).join(' / ');
}
