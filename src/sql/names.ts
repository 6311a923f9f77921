/** Names as PostgreSQL keeps them. */

/** PostgreSQL cuts names at 63 bytes; two names that differ only behind that are one. */
export function truncateName(name: string): string {
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length <= 63) return name;
  let end = 63;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString('utf8');
}

/** "schema.name", with quotes where the parts could not be told apart otherwise. */
export function displayName(schema: string, name: string): string {
  return `${displayPart(schema)}.${displayPart(name)}`;
}

function displayPart(part: string): string {
  return /[."*?]/.test(part) && part !== '?' ? `"${part.replaceAll('"', '""')}"` : part;
}
