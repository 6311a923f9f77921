/**
 * Workflow commands of GitHub Actions: lines in a step's output that its runner obeys. Ours are written here, and what
 * comes from a database or a file is kept from being one.
 */

export type AnnotationLevel = 'error' | 'warning' | 'notice';

export function formatAnnotation(level: AnnotationLevel, title: string, message: string): string {
  return `::${level} title=${escapeProperty(title)}::${escapeData(message)}`;
}

/**
 * A command is a line that begins with `::`, white space aside, or has the older `##[` anywhere. Neither is left; for
 * people it reads the same. The runner is a .NET program, for which U+0085 is white space, too.
 */
export function disarm(text: string): string {
  return text.replaceAll(/(^|[\r\n])((?:[^\S\r\n]|\u0085)*)::/g, String.raw`$1$2\x3a:`).replaceAll('##[', String.raw`#\x23[`);
}

/** The same in a line of JSON, whose values stay what they are. */
export function disarmJson(line: string): string {
  return line.replaceAll('##[', String.raw`\u0023#[`);
}

function escapeData(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
