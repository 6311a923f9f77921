/** Names as PostgreSQL keeps them. */

/** PostgreSQL cuts names at 63 bytes; two names that differ only behind that are one. */
export function truncateName(name: string): string {
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length <= 63) return name;
  let end = 63;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString('utf8');
}

/** As SQL text must write the name to mean it and no other. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** "schema.name", with quotes where the parts could not be told apart otherwise; "?" stands for a schema that is not known. */
export function displayName(schema: string | undefined, name: string): string {
  return `${schema === undefined ? '?' : displayPart(schema)}.${displayPart(name)}`;
}

function displayPart(part: string): string {
  return /[."*?]/.test(part) ? quoteName(part) : part;
}
