/** The application_name of a connection to the database, by which its own logs lead back to the session and the person. */
import type { Session } from '../grant/grant.ts';
import { humanBehind } from '../principal/principal.ts';

/** NAMEDATALEN - 1: PostgreSQL cuts what is longer, and would cut the mark of what is only claimed. */
export const applicationNameBytesMax = 63;
/** Of the person's name at least so much stays. */
const humanLengthMin = 20;

/** `gate/<session> <name>`, of a machine `gate/<session> <name> for <human>`, with `?` at the end where that is only claimed. */
export function applicationNameOf({ id, grant }: Pick<Session, 'id' | 'grant'>): string {
  const { principal } = grant;
  const prefix = `gate/${id} `;
  const room = Math.max(0, applicationNameBytesMax - prefix.length);
  const name = plain(principal.name);
  const human = principal.kind === 'human' ? undefined : humanBehind(principal);
  if (human === undefined) return `${prefix}${name.slice(0, room)}`;
  const person = plain(human.value);
  const mark = human.strength === 'verified' ? '' : '?';
  const around = ' for '.length + mark.length;
  const shown = name.slice(0, Math.max(1, room - around - Math.min(person.length, humanLengthMin)));
  return `${prefix}${shown} for ${person.slice(0, Math.max(0, room - around - shown.length))}${mark}`;
}

/**
 * Printable ASCII: PostgreSQL replaces all else, up to version 15 each byte by a question mark, which here says that a
 * person is only claimed. So neither it nor a question mark of the name's own gets that far.
 */
function plain(name: string): string {
  return name.normalize('NFKD').replaceAll(/\p{M}/gu, '').replaceAll(/[^\x20-\x7e]|\?/gu, '_');
}
