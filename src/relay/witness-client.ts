/** Has each new checkpoint cosigned by the witnesses of the configuration (C2SP tlog-witness, the half of the log). */
import { join } from 'node:path';
import { cosignedAt, formatNote, parseCheckpoint, parseNote, type Note } from '../audit/checkpoint.ts';
import { formatAddCheckpoint } from '../audit/witness-request.ts';
import { messageOf } from '../errors/errors.ts';
import { realLogFiles, replaceFile } from '../store/log-files.ts';
import type { Publisher } from '../store/publisher.ts';
import { proveConsistency } from '../store/tree-reader.ts';
import type { RelayLog } from './relay-log.ts';
import type { Witness } from './record-config.ts';

const timeoutMs = 10_000;
/** Largest answer that is read. */
const answerBytesMax = 64 * 1024;
/** How long the end of the relay waits for the last cosignatures. */
const lastWordMs = 3000;
/** Beside `checkpoint`: the newest one that all witnesses have cosigned, which under load is a little older. */
export const witnessedFile = 'checkpoint.witnessed';

export type WitnessClientOptions = {
  readonly directory: string;
  readonly witnesses: readonly Witness[];
  readonly publisher: Publisher;
  readonly log: RelayLog;
  readonly lastWordMs?: number;
};

/** Never holds anything up: a witness that cannot be reached is asked again with the next checkpoint. */
export class WitnessClient {
  readonly #options: WitnessClientOptions;
  /** Size of the newest tree that each has cosigned, as far as is known. */
  readonly #seen = new Map<string, number>();
  /** Of those that did not answer as they should; each is told of once. */
  readonly #problems = new Map<string, string>();
  #round: Promise<void> | undefined;
  #isWanted = false;
  readonly #forget: () => void;
  /** Aborted when the log is let go: from then on its files may be another relay's. */
  readonly #stopping = new AbortController();

  constructor(options: WitnessClientOptions) {
    this.#options = options;
    this.#forget = options.publisher.onPublished(() => this.#start());
    if (options.witnesses.length > 0) this.#start();
  }

  /** Why which witness has not cosigned the newest checkpoint it was asked for. */
  get problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** When this resolves, nothing more is written. */
  async stop(): Promise<void> {
    this.#forget();
    await Promise.race([this.#round, new Promise((resolve) => setTimeout(resolve, this.#options.lastWordMs ?? lastWordMs).unref())]);
    this.#stopping.abort();
    await this.#round;
  }

  #start(): void {
    if (this.#options.witnesses.length === 0) return;
    this.#isWanted = true;
    this.#round ??= this.#run().finally(() => (this.#round = undefined));
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      const { witnesses, publisher } = this.#options;
      const note = parseNote(publisher.published.note);
      const lines = await Promise.all(witnesses.map((witness) => this.#ask(witness, note)));
      if (this.#stopping.signal.aborted) return;
      const signatures = lines.flatMap((one) => one ?? []);
      if (signatures.length > 0) await this.#keep(note, signatures, lines.every((one) => one !== undefined));
    }
  }

  async #keep(note: Note, signatures: Note['signatures'], isWhole: boolean): Promise<void> {
    const { directory, publisher, log } = this.#options;
    const cosigned = formatNote({ text: note.text, signatures: [...note.signatures, ...signatures] });
    try {
      await publisher.addSignatures(note.text, cosigned);
      if (isWhole) await replaceFile(realLogFiles, join(directory, witnessedFile), Buffer.from(cosigned));
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'cosignatures of witnesses could not be written');
    }
  }

  /** The signatures that the witness adds; undefined where it does not. */
  async #ask(witness: Witness, note: Note): Promise<Note['signatures'] | undefined> {
    const name = witness.key.name;
    try {
      const { size } = parseCheckpoint(note.text);
      let answer = await this.#send(witness, note, size, Math.min(this.#seen.get(name) ?? 0, size));
      const other = answer.status === 409 ? Number(answer.body.trim()) : NaN;
      if (Number.isSafeInteger(other) && other <= size) answer = await this.#send(witness, note, size, other);
      if (answer.status !== 200) throw new Error(`it answers ${answer.status}: ${answer.body.slice(0, 200)}`);
      const added = parseNote(`${formatNote(note)}${answer.body}`).signatures.slice(note.signatures.length);
      if (cosignedAt({ text: note.text, signatures: added }, witness.key) === undefined) throw new Error('its cosignature is not good');
      this.#seen.set(name, size);
      this.#problems.delete(name);
      return added.filter((one) => one.name === name);
    } catch (error) {
      if (this.#stopping.signal.aborted) return undefined;
      const reason = messageOf(error);
      if (this.#problems.get(name) !== reason) this.#options.log.warn({ witness: name, reason }, 'a witness did not cosign the checkpoint');
      this.#problems.set(name, reason);
      return undefined;
    }
  }

  async #send({ url }: Witness, note: Note, size: number, old: number): Promise<{ status: number; body: string }> {
    const proof = old === 0 || old === size ? [] : await proveConsistency(this.#options.directory, old, size);
    const response = await fetch(new URL('add-checkpoint', url.href.endsWith('/') ? url : `${url.href}/`), {
      method: 'POST',
      body: formatAddCheckpoint({ old, proof, note: formatNote(note) }),
      redirect: 'error',
      signal: AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(timeoutMs)]),
    });
    let body = '';
    for await (const chunk of response.body ?? []) {
      body += Buffer.from(chunk).toString('utf8');
      if (body.length > answerBytesMax) throw new Error('its answer is too long');
    }
    return { status: response.status, body };
  }
}
