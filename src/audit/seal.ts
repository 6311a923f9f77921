/** What of an event is for few eyes, and how it is sealed: taken out of the entry, encrypted with AES-256-GCM (NIST SP 800-38D). Pure. */
import { createHmac, hash } from 'node:crypto';
import { decrypt, encrypt } from './aead.ts';
import { GateError } from '../errors/errors.ts';
import { Event, namesMax, type AuditEntry, type Sealed } from './entry.ts';

/** Classes of data keys: texts and parameters, and the rows of results. Each can be deleted without the other. */
export type KeyClass = Sealed['key'];

/** AES-256. */
export const dataKeyBytes = 32;

/** The part of an event that stands in the entry, and the part that is sealed, where there is one. */
export type SplitEvent = {
  readonly open: Readonly<Record<string, unknown>>;
  readonly closed?: { readonly key: KeyClass; readonly fields: Readonly<Record<string, unknown>> };
};

/** Of these kinds these fields are sealed, and of lists that are too long for an entry the whole list. */
const sealedFields: { readonly [kind: string]: readonly string[] } = {
  statement: ['sql', 'sent', 'parameters'],
  hold: ['sql', 'parameters'],
  request: ['sql', 'fingerprint', 'parameterHash'],
  result: ['rows'],
};
const cutFields = ['tags', 'masked', 'tables', 'columns'];

export function splitEvent(event: Event): SplitEvent {
  const values: Readonly<Record<string, unknown>> = event;
  const sealed = sealedFields[event.kind];
  if (sealed === undefined && !cutFields.some((name) => isLong(values[name]))) return { open: values };
  const fields: Record<string, unknown> = {};
  for (const name of sealed ?? []) if (values[name] !== undefined) fields[name] = values[name];
  // A refusal may quote the text that it refuses.
  if (event.kind === 'statement' && event.effect === 'deny') fields['reason'] = event.reason;
  const open = without(values, fields);
  for (const name of cutFields) {
    const list = open[name];
    if (!isLong(list)) continue;
    fields[name] = list;
    open[name] = list.slice(0, namesMax);
  }
  if (Object.keys(fields).length === 0) return { open };
  return { open, closed: { key: event.kind === 'result' ? 'results' : 'content', fields } };
}

function isLong(value: unknown): value is unknown[] {
  return Array.isArray(value) && value.length > namesMax;
}

/** In the same order. */
function without(values: Readonly<Record<string, unknown>>, left: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const rest: Record<string, unknown> = {};
  for (const name in values) if (!(name in left)) rest[name] = values[name];
  return rest;
}

/** The digest of rows as it stands in the record. `key` is the session's data key of results. */
export function keyedDigest(digest: string, key: Buffer): string {
  return createHmac('sha256', key).update(digest, 'hex').digest('hex');
}

/** Undoes `splitEvent`; without the sealed fields, the shape stands in place of a text and a note in place of a reason. */
export function joinEvent(open: Readonly<Record<string, unknown>>, fields: Readonly<Record<string, unknown>> | undefined): Event {
  const kind = String(open['kind']);
  const stand: Record<string, unknown> = {};
  if (fields === undefined) {
    const names = sealedFields[kind] ?? [];
    if (names.includes('sql') && kind !== 'request') stand['sql'] = open['shape'] ?? '';
    if (names.includes('rows')) stand['rows'] = [];
    if (kind === 'statement' && open['reason'] === undefined) stand['reason'] = 'the reason is sealed';
  }
  const result = Event.safeParse({ ...open, ...stand, ...fields });
  if (result.success) return result.data;
  const where = result.error.issues[0]?.path.join('.') ?? '';
  throw new GateError('record-damaged', `the entry is no entry that this version knows${where && ` (at event.${where})`}`);
}

/** The place of an entry, to which its sealed bytes are bound: they open nowhere else. */
export type SealedPlace = { readonly session: string; readonly seq: number; readonly key: KeyClass };

function contextOf({ session, seq, key }: SealedPlace): string {
  return `gate/sealed/v1\n${session}\n${seq}\n${key}\n`;
}

/** nonce (12 bytes), ciphertext of the JSON of `fields`, tag (16 bytes). A nonce must never come twice under one key. */
export function seal(fields: Readonly<Record<string, unknown>>, place: SealedPlace, key: Buffer, nonce: Buffer): Buffer {
  return encrypt(JSON.stringify(fields), contextOf(place), key, nonce);
}

/** Throws `record-damaged` for bytes that were not sealed with this key for this place. */
export function unseal(bytes: Buffer, place: SealedPlace, key: Buffer): Record<string, unknown> {
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is authentic, and joinEvent checks the whole
    return JSON.parse(decrypt(bytes, contextOf(place), key).toString('utf8')) as Record<string, unknown>;
  } catch (error) {
    throw new GateError('record-damaged', `what entry ${place.seq} of session ${place.session} has sealed does not open`, { cause: error });
  }
}

export function describeSealed(bytes: Buffer, key: KeyClass): Sealed {
  return { sha256: hash('sha256', bytes, 'hex'), bytes: bytes.length, key };
}

/** An entry as it stands in the record: the JSON whose hash is the leaf. */
export function formatEntry({ session, seq, prev, time }: Omit<AuditEntry, 'event'>, open: SplitEvent['open'], sealed: Sealed | undefined): string {
  const envelope = `{"v":1,"session":${JSON.stringify(session)},"seq":${seq},"prev":"${prev}","time":"${time}"`;
  return `${envelope},"event":${JSON.stringify(open)}${sealed === undefined ? '' : `,"sealed":${JSON.stringify(sealed)}`}}`;
}
