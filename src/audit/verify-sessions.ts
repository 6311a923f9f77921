/** Reads the entries in the order of the tree as the story that they tell: chains, intents and outcomes, grants, keys. Pure. */
import { decisionsChain } from './entry.ts';
import { openEntry, type StoredEntry } from './line.ts';
import type { Findings } from './verify-report.ts';

type SessionStory = {
  seq: number;
  hash: string;
  firstIndex: number;
  isOpened: boolean;
  isClosed: boolean;
  /** One of its entries is of a kind that this version does not know. */
  isUnsure: boolean;
  /** The highest number of a statement that was sent. */
  last: number;
  /** Sent, and not answered for yet: number to leaf index. */
  readonly running: Map<number, number>;
  /** Cleared with the end of the session. */
  readonly done: Set<number>;
};

export type Rotation = { readonly index: number; readonly from: string; readonly to: string };

/** What an entry has sealed, in few bytes, as there may be one for each statement. */
export type SealedPromise = {
  readonly index: number;
  readonly seq: number;
  readonly sha256: string;
  readonly bytes: number;
  /** Session and class of the data key. */
  readonly key: string;
};

export class SessionsReview {
  readonly rotations: Rotation[] = [];
  readonly counts = { sessions: 0, statements: 0, refused: 0 };
  readonly #findings: Findings;
  readonly #sessions = new Map<string, SessionStory>();
  readonly #grants = new Set<string>();
  readonly #shredded = new Set<string>();
  /** Entries that nobody can say the session of. */
  #unread = 0;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** How bad it is that something sealed belongs to no entry: one that cannot be read may have sealed it. */
  get unclaimed(): 'tampered' | 'unknown' {
    return this.#unread > 0 ? 'unknown' : 'tampered';
  }

  isShredded(promise: SealedPromise): boolean {
    return this.#shredded.has(promise.key);
  }

  /** `hash`: SHA-256 of the entry's JSON in hex. */
  add(index: number, entry: StoredEntry, hash: string): void {
    if (!this.#sessions.has(entry.session) && entry.session !== decisionsChain) this.counts.sessions++;
    const story = this.#storyOf(entry, index);
    this.#follow(story, index, entry, hash);
    this.#tell(story, index, entry);
  }

  /** An entry that stands where it should, and cannot be read. */
  addUnread(index: number): void {
    this.#unread++;
    this.#findings.unknown('entry-unknown', `entry ${index} is of a version that is not known`, { index });
  }

  /** An entry that no checkpoint covers: it must follow all the same, and what it tells is not proven. */
  addUncovered(index: number, entry: StoredEntry, hash: string): void {
    this.#follow(this.#storyOf(entry, index), index, entry, hash);
  }

  #storyOf({ session }: StoredEntry, firstIndex: number): SessionStory {
    const story = this.#sessions.get(session) ?? { seq: 0, hash: '', firstIndex, isOpened: false, isClosed: false, isUnsure: false, last: 0, running: new Map(), done: new Set() };
    this.#sessions.set(session, story);
    return story;
  }

  /** After a break the chain is taken up again, so that each is named once. */
  #follow(story: SessionStory, index: number, { session, seq, prev }: StoredEntry, hash: string): void {
    const place = { index, session, seq };
    const name = `entry ${index} (${session} #${seq})`;
    if (seq > story.seq + 1 && seq - story.seq - 1 <= this.#unread) {
      this.#findings.unknown('chain-unknown', `${name} follows #${story.seq}: what is between may be what could not be read`, place);
    } else if (seq > story.seq + 1) {
      const gap = seq - story.seq === 2 ? `entry #${seq - 1} of ${session} is` : `entries #${story.seq + 1} to #${seq - 1} of ${session} are`;
      this.#findings.tampered('chain-gap', `${gap} missing before entry ${index}`, place);
    } else if (seq <= story.seq) {
      this.#findings.tampered('chain-repeat', `${name} stands behind #${story.seq} of its session: it is there twice, or was moved`, place);
      return;
    } else if (prev !== story.hash) {
      this.#findings.tampered('chain-broken', `${name} does not carry the hash of the entry before it: one of the two was changed`, place);
    }
    story.seq = seq;
    story.hash = hash;
  }

  #tell(story: SessionStory, index: number, entry: StoredEntry): void {
    const { session, seq } = entry;
    const place = { index, session, seq };
    let event;
    try {
      ({ event } = openEntry(entry, entry.sealed === undefined ? {} : 'not-allowed'));
    } catch {
      story.isUnsure = true;
      this.#findings.unknown('entry-unknown', `entry ${index} (${session} #${seq}) is of a kind that this version does not know`, place);
      return;
    }
    if (event.kind === 'session.open') this.#open(story, event.grant, index, entry);
    else if (event.kind === 'session.close') {
      if (story.isClosed) this.#findings.tampered('close-doubled', `entry ${index} closes session ${session} a second time`, place);
      story.isClosed = true;
      story.done.clear();
    } else if (event.kind === 'statement') {
      this.counts.statements++;
      if (event.effect === 'deny') this.counts.refused++;
      else this.#start(story, event.statement, entry, index);
    } else if (event.kind === 'outcome') {
      this.#finish(story, event.statement, entry, index);
      if (event.state === 'unknown') this.#findings.note(`entry ${index} (${session} #${seq}): nobody knows how statement ${event.statement} ended`);
    } else if (event.kind === 'grant') this.#grants.add(event.grant);
    else if (event.kind === 'key.rotate') this.rotations.push({ index, from: event.from, to: event.to });
    else if (event.kind === 'key.shred') for (const key of event.classes) this.#shredded.add(`${event.session}/${key}`);
  }

  #open(story: SessionStory, grant: string, index: number, { session, seq }: StoredEntry): void {
    const place = { index, session, seq };
    if (story.isOpened) this.#findings.tampered('open-doubled', `entry ${index} opens session ${session} a second time`, place);
    story.isOpened = true;
    if (!this.#grants.has(grant)) this.#findings.incomplete('grant-missing', `session ${session} was opened by grant ${grant}, and no entry before it grants that`, place);
  }

  #start(story: SessionStory, statement: number, { session, seq }: StoredEntry, index: number): void {
    if (story.running.has(statement) || story.done.has(statement) || (story.isClosed && statement <= story.last)) {
      this.#findings.tampered('intent-doubled', `statement ${statement} of ${session} was sent twice, the second time by entry ${index}`, { index, session, seq });
    }
    story.running.set(statement, index);
    story.last = Math.max(story.last, statement);
  }

  #finish(story: SessionStory, statement: number, { session, seq }: StoredEntry, index: number): void {
    const place = { index, session, seq };
    if (story.running.delete(statement)) {
      if (!story.isClosed) story.done.add(statement);
    } else if (story.done.has(statement)) {
      this.#findings.tampered('outcome-doubled', `statement ${statement} of ${session} has a second outcome, entry ${index}`, place);
    } else if (story.isUnsure || this.#unread > 0) {
      this.#findings.unknown('outcome-unknown', `the statement of entry ${index}, an outcome of ${session}, may be what could not be read`, place);
    } else {
      this.#findings.tampered('outcome-unmatched', `entry ${index} is the outcome of statement ${statement} of ${session}, which was never sent`, place);
    }
  }

  /** After the last entry. */
  finish(): void {
    for (const [session, { firstIndex, isOpened, isClosed, running }] of this.#sessions) {
      if (session === decisionsChain) continue;
      for (const [statement, index] of running) {
        this.#findings.incomplete('outcome-missing', `statement ${statement} of ${session}, entry ${index}, has no outcome`, { index, session });
      }
      if (!isOpened) this.#findings.incomplete('open-missing', `session ${session} has no session.open`, { index: firstIndex, session });
      if (!isClosed) this.#findings.incomplete('close-missing', `session ${session} has no session.close: it is running, or was cut`, { index: firstIndex, session });
    }
  }
}

/** What the entry says that it has sealed. */
export function promiseOf(index: number, { session, seq, event, sealed }: StoredEntry): SealedPromise | undefined {
  if (sealed === undefined) return undefined;
  const statement = event['statement'];
  // A held statement's text is sealed with the key of its session, also where a request repeats it.
  const owner = typeof statement === 'object' && statement !== null && 'session' in statement ? String(statement.session) : session;
  return { index, seq, sha256: sealed.sha256, bytes: sealed.bytes, key: `${owner}/${sealed.key}` };
}
