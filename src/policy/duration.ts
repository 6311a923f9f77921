/** Durations as people write them in the policy and on the command line. */

const secondsPer = { s: 1, m: 60, h: 3600 } as const;

/** Seconds of a duration like 90s, 30m or 8h; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,6})([smh])$/.exec(text);
  return match === null ? undefined : Number(match[1]) * secondsPer[match[2] as keyof typeof secondsPer];
}
