/** Which keys may sign a log: those that are trusted from outside, and those that rotations tie to them. Pure. */
import { GateError } from '../errors/errors.ts';
import { cosignedAt, formatVerifierKey, isSignedBy, parseCheckpoint, parseNote, parseVerifierKey, type Checkpoint, type Note, type NoteKey } from './checkpoint.ts';
import { decodeBase64 } from './verify-source.ts';

/** A checkpoint as it was found, with its signatures. */
export type SignedCheckpoint = { readonly note: Note; readonly checkpoint: Checkpoint };

/** Fails with `record-damaged` for a note that is not byte for byte as notes are written. */
export function parseSignedCheckpoint(bytes: Buffer): SignedCheckpoint {
  const text = bytes.toString('utf8');
  const note = parseNote(text);
  const isExact = Buffer.from(text).equals(bytes) && signatureTexts(text).every((base64) => decodeBase64(base64) !== undefined);
  if (!isExact) throw new GateError('record-damaged', 'this is not a signed note');
  return { note, checkpoint: parseCheckpoint(note.text) };
}

function signatureTexts(text: string): string[] {
  const lines = text.slice(text.lastIndexOf('\n\n') + 2, -1).split('\n');
  return lines.map((line) => line.slice(line.lastIndexOf(' ') + 1));
}

/** Undefined for a text that is not exactly one key. */
export function readKey(text: string): NoteKey | undefined {
  try {
    const key = parseVerifierKey(text);
    return formatVerifierKey(key) === text ? key : undefined;
  } catch {
    return undefined;
  }
}

export type SignatureState = 'good' | 'bad' | 'none';

/** Whether the note bears a signature of this key, and whether it is one. */
export function signatureBy(note: Note, key: NoteKey): SignatureState {
  const text = formatVerifierKey(key);
  const known = states.get(note) ?? new Map<string, SignatureState>();
  states.set(note, known);
  const state = known.get(text) ?? stateOf(note, key);
  known.set(text, state);
  return state;
}

/** The same signature is asked for from several sides, and checking one is the dearest of all steps. */
const states = new WeakMap<Note, Map<string, SignatureState>>();

function stateOf(note: Note, key: NoteKey): SignatureState {
  if (key.type === 'ed25519' ? isSignedBy(note, key) : cosignedAt(note, key) !== undefined) return 'good';
  return note.signatures.some(({ name, keyId }) => name === key.name && keyId.equals(key.keyId)) ? 'bad' : 'none';
}

/** Keys by their text; `trusted` grows from the anchors along the rotations, in both directions. */
export class KeyRing {
  readonly #trusted = new Map<string, NoteKey>();

  constructor(anchors: readonly NoteKey[]) {
    for (const key of anchors) this.#trusted.set(formatVerifierKey(key), key);
  }

  get keys(): readonly NoteKey[] {
    return [...this.#trusted.values()];
  }

  has(key: NoteKey): boolean {
    return this.#trusted.has(formatVerifierKey(key));
  }

  /** Each pair has signed one checkpoint together. */
  connect(pairs: readonly (readonly [NoteKey, NoteKey])[]): void {
    for (let isGrowing = true; isGrowing; ) {
      isGrowing = false;
      for (const [one, other] of pairs) {
        if (this.has(one) === this.has(other)) continue;
        for (const key of [one, other]) this.#trusted.set(formatVerifierKey(key), key);
        isGrowing = true;
      }
    }
  }

  signersOf(note: Note): readonly NoteKey[] {
    return this.keys.filter((key) => signatureBy(note, key) === 'good');
  }
}
