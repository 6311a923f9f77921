/** What a witness answers to a checkpoint (C2SP tlog-witness): it cosigns only what continues the history that it has seen. */
import {
  cosign,
  formatNote,
  formatSignatures,
  isSignedBy,
  parseCheckpoint,
  parseNote,
  type Checkpoint,
  type Note,
  type NoteKey,
} from '../audit/checkpoint.ts';
import { emptyRoot, isConsistent } from '../audit/tree.ts';
import { parseAddCheckpoint, sizeMediaType, type AddCheckpoint } from '../audit/witness-request.ts';
import { GateError } from '../errors/errors.ts';
import type { WitnessState } from './witness-state.ts';

export type WitnessAnswer = {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422 | 503;
  readonly body: string;
  /** Plain text by default. */
  readonly mediaType?: string;
};

export type WitnessOptions = {
  /** Whose checkpoints are cosigned; the name of a key is the origin of its log. */
  readonly logs: readonly NoteKey[];
  readonly state: WitnessState;
  readonly now: () => Date;
  /** Told of what a log has signed that contradicts its own history. */
  readonly onContradiction: (line: string) => void;
};

/** Checkpoints of one log that may wait for their turn. */
export const waitingMax = 64;

type WatchedLog = {
  readonly keys: NoteKey[];
  /** Settles, never fails, when everything asked for so far is answered. */
  idle: Promise<unknown>;
  waiting: number;
};

type Submission = Pick<AddCheckpoint, 'old' | 'proof'> & { readonly note: Note; readonly checkpoint: Checkpoint };

export class Witness {
  readonly #options: WitnessOptions;
  readonly #logs = new Map<string, WatchedLog>();

  constructor(options: WitnessOptions) {
    this.#options = options;
    for (const key of options.logs) {
      const log = this.#logs.get(key.name) ?? { keys: [], idle: Promise.resolve(), waiting: 0 };
      log.keys.push(key);
      this.#logs.set(key.name, log);
    }
  }

  /** Rejects when the checkpoint could not be kept; nothing is cosigned then. */
  async addCheckpoint(body: string): Promise<WitnessAnswer> {
    const submission = parseSubmission(body);
    if (typeof submission === 'string') return refusal(400, submission);
    const { old, note, checkpoint } = submission;
    const log = this.#logs.get(checkpoint.origin);
    if (log === undefined) return refusal(404, 'this log is not known here');
    // Lines of others are dropped here: what is kept and shown is bounded by the number of keys.
    const signatures = log.keys.flatMap((key) => note.signatures.find((one) => isSignedBy({ text: note.text, signatures: [one] }, key)) ?? []);
    if (signatures.length === 0) return refusal(403, 'no known key of this log has signed the checkpoint');
    if (old > checkpoint.size) return refusal(400, 'the old size is larger than the checkpoint');
    return inTurn(log, () => this.#judge({ ...submission, note: { text: note.text, signatures } }));
  }

  /** Resolves when nothing is being decided any more. */
  async idle(): Promise<void> {
    await Promise.all([...this.#logs.values()].map((log) => log.idle));
  }

  async #judge({ old, proof, note, checkpoint }: Submission): Promise<WitnessAnswer> {
    const { state, now, onContradiction } = this.#options;
    const { origin, size, root } = checkpoint;
    const seen = (await state.latest(origin))?.checkpoint ?? { size: 0, root: emptyRoot };
    const conflict: WitnessAnswer = { status: 409, body: `${seen.size}\n`, mediaType: sizeMediaType };
    if (old !== seen.size) return conflict;
    if (size === seen.size && !root.equals(seen.root)) {
      onContradiction(`${origin} has signed two trees of ${size} entries: ${seen.root.toString('base64')} was seen, now ${root.toString('base64')} came`);
      return conflict;
    }
    if (!isConsistent(old, seen.root, size, root, proof)) {
      onContradiction(`a checkpoint of ${origin} over ${size} entries was not proven to continue the ${old} that were seen`);
      return refusal(422, 'the proof does not lead from the old size to the checkpoint');
    }
    const cosignature = cosign(note.text, state.key, Math.floor(now().getTime() / 1000));
    await state.store(origin, formatNote({ text: note.text, signatures: [...note.signatures, cosignature] }));
    return { status: 200, body: formatSignatures([cosignature]) };
  }
}

/** A sentence where it is malformed. */
function parseSubmission(body: string): Submission | string {
  try {
    const { old, proof, note: text } = parseAddCheckpoint(body);
    const note = parseNote(text);
    return { old, proof, note, checkpoint: parseCheckpoint(note.text) };
  } catch (error) {
    if (error instanceof GateError) return error.message;
    throw error;
  }
}

/** One after the other, so that nothing changes between the look at what was seen and the moment it is replaced. */
async function inTurn(log: WatchedLog, work: () => Promise<WitnessAnswer>): Promise<WitnessAnswer> {
  if (log.waiting >= waitingMax) return refusal(503, 'too many checkpoints of this log are waiting');
  log.waiting += 1;
  const answer = log.idle.then(work).finally(() => (log.waiting -= 1));
  log.idle = answer.catch(() => undefined);
  return answer;
}

function refusal(status: WitnessAnswer['status'], sentence: string): WitnessAnswer {
  return { status, body: `${sentence}\n` };
}
