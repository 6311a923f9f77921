/** What could not be proven, thrown from anywhere in the walk and caught at its beginning. */

export type Element = 'syntax' | 'statement' | 'relation' | 'column' | 'function' | 'operator' | 'type' | 'setting' | 'write' | 'catalog';

export class Refusal extends Error {
  readonly element: Element;
  readonly hint: string;
  /** Byte offset in the client's text. */
  readonly at: number | undefined;

  constructor(element: Element, reason: string, hint: string, at?: number) {
    super(reason);
    this.element = element;
    this.hint = hint;
    this.at = at;
  }
}

export const askForRole = 'Ask for a role without masks where the work needs it: see gate targets.';
