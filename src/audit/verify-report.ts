/** What a verification has found: findings with a severity and a place, and the one verdict that they add up to. Pure. */

/** `unknown`: nothing wrong was seen, but something could not be judged. */
export type Severity = 'tampered' | 'incomplete' | 'unknown';
export type Verdict = 'intact' | 'tampered' | 'incomplete' | 'cannot-tell';

export type Place = { readonly index?: number; readonly session?: string; readonly seq?: number; readonly file?: string };
export type Finding = Place & { readonly kind: string; readonly severity: Severity; readonly message: string };

export type Counts = {
  entries: number;
  sessions: number;
  statements: number;
  refused: number;
  sealed: number;
  witnesses: number;
  checkpoints: number;
  receipts: number;
  findings: number;
};

export type Report = {
  readonly result: Verdict;
  readonly exitCode: number;
  readonly log: { readonly origin: string; readonly size: number; readonly root: string; readonly signedBy: readonly string[] };
  readonly counts: Readonly<Counts>;
  /** The first of each severity; `counts.findings` is how many there were. */
  readonly findings: readonly Finding[];
  readonly notes: readonly string[];
};

export const exitCodes: Readonly<Record<Verdict, number>> = { intact: 0, tampered: 1, incomplete: 2, 'cannot-tell': 3 };

/** Kept of each severity, and of notes. A log of which nothing is right has as many findings as entries. */
export const findingsMax = 1000;

export class Findings {
  readonly notes: string[] = [];
  readonly #kept: Record<Severity, Finding[]> = { tampered: [], unknown: [], incomplete: [] };
  #count = 0;

  add(severity: Severity, kind: string, message: string, place: Place = {}): void {
    this.#count++;
    if (this.#kept[severity].length < findingsMax) this.#kept[severity].push({ kind, severity, message, ...place });
  }

  tampered(kind: string, message: string, place?: Place): void {
    this.add('tampered', kind, message, place);
  }

  incomplete(kind: string, message: string, place?: Place): void {
    this.add('incomplete', kind, message, place);
  }

  unknown(kind: string, message: string, place?: Place): void {
    this.add('unknown', kind, message, place);
  }

  note(text: string): void {
    if (this.notes.length < findingsMax) this.notes.push(text);
  }

  get count(): number {
    return this.#count;
  }

  get all(): readonly Finding[] {
    return [...this.#kept.tampered, ...this.#kept.unknown, ...this.#kept.incomplete];
  }

  /** What is proven wrong outweighs what cannot be judged, and that what is only not there. */
  get verdict(): Verdict {
    if (this.#kept.tampered.length > 0) return 'tampered';
    if (this.#kept.unknown.length > 0) return 'cannot-tell';
    return this.#kept.incomplete.length > 0 ? 'incomplete' : 'intact';
  }
}
