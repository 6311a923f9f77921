/** The port of the directory: what is known of people beside their tokens, as whether they are still there. */

export type DirectoryEntry = {
  readonly isActive: boolean;
  readonly groups: readonly string[];
  /** When it was read, or when the token was issued that says so. */
  readonly at: Date;
};

export interface Directory {
  /** Whether somebody whom it does not know has left. False for one that has seen only who came by. */
  readonly knowsEverybody: boolean;
  /** By the `sub` of their login. Undefined for somebody whom it does not know. Never rejects. */
  lookUp(subject: string): Promise<DirectoryEntry | undefined | 'unreachable'>;
}
