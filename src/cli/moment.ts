/** Moments as people write them on the command line: a time, or how long ago it was. */
import { InvalidArgumentError } from 'commander';
import { parseDuration } from '../policy/duration.ts';

/** `2026-05-04T10:00:00Z`, or `30m`, `12h`, `7d`, with or without `ago` behind. */
export function parseMoment(text: string): Date {
  const span = text.trim().replace(/ +ago$/, '');
  const seconds = parseDuration(span) ?? daysOf(span);
  const time = seconds === undefined ? new Date(/^\d{4}-\d\d-\d\d/.test(text) ? text : Number.NaN) : new Date(Date.now() - seconds * 1000);
  if (Number.isNaN(time.getTime())) throw new InvalidArgumentError('Write a time like 2026-05-04T10:00:00Z, or how long ago it was: 30m, 12h, 7d.');
  return time;
}

function daysOf(text: string): number | undefined {
  const days = /^(\d{1,4})d$/.exec(text)?.[1];
  return days === undefined ? undefined : Number(days) * 86_400;
}
