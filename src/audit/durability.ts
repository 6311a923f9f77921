/** When the record of a statement is far enough. */

/**
 * How far the record of a statement must have come, and before what: on disk before it is forwarded; on disk before its
 * result goes to the client; or with the operating system before it is forwarded, which survives the end of the relay's
 * process and not that of the machine.
 */
export const durabilities = ['before-forward', 'before-result', 'os'] as const;
export type Durability = (typeof durabilities)[number];
