/** What one detector answers. */

/** Ranges of one kind; they do not overlap, and stand in order. */
export type Found = readonly (readonly [start: number, end: number])[];
