/** Medians, percentiles and spreads of what was measured. */

export function sorted(values: readonly number[]): number[] {
  return values.toSorted((a, b) => a - b);
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** By the nearest rank, but for a median between two values. NaN for none. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN;
  const all = sorted(values);
  if (share === 0.5 && all.length % 2 === 0) return ((all[all.length / 2 - 1] as number) + (all[all.length / 2] as number)) / 2;
  return all[Math.min(all.length - 1, Math.max(0, Math.ceil(share * all.length) - 1))] as number;
}

export type Spread = { readonly median: number; readonly min: number; readonly max: number };

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Three figures that matter: 12,345 and 12.3 and 0.123. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString('en-US');
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(size >= 1 ? 2 : 3);
}
