/** A small picture of one curve: two lines over a logarithmic axis, both against their first point. */
import type { CurveResult } from './curves.ts';

const width = 480;
const height = 220;
const left = 44;
const right = 120;
const top = 16;
const bottom = 40;

type Line = { readonly label: string; readonly color: string; readonly values: readonly number[] };

export function curveSvg({ title, axis, points }: CurveResult): string {
  const lines: readonly Line[] = [
    { label: 'relay CPU', color: '#b3452c', values: points.map(({ cpuRatio }) => cpuRatio) },
    { label: 'throughput', color: '#2c6bb3', values: points.map(({ tpsRatio }) => tpsRatio) },
  ];
  const most = Math.max(2, ...lines.flatMap(({ values }) => values)) * 1.1;
  const scale = points.map(({ x }) => Math.log10(x + 1));
  const widest = Math.max(...scale, 1e-9);
  const xAt = (index: number): number => left + ((width - left - right) * (scale[index] ?? 0)) / widest;
  const yAt = (value: number): number => height - bottom - ((height - top - bottom) * value) / most;
  const grid = gridValues(most).map(
    (value) => `<line x1="${left}" x2="${width - right}" y1="${round(yAt(value))}" y2="${round(yAt(value))}" stroke="#ccc"/>
  <text x="${left - 6}" y="${round(yAt(value) + 4)}" text-anchor="end">${value}</text>`,
  );
  const marks = points.map(({ x }, index) => `<text x="${round(xAt(index))}" y="${height - bottom + 16}" text-anchor="middle">${short(x)}</text>`);
  const drawn = lines.map(({ label, color, values }, index) => {
    const path = values.map((value, at) => `${round(xAt(at))},${round(yAt(value))}`).join(' ');
    const dots = values.map((value, at) => `<circle cx="${round(xAt(at))}" cy="${round(yAt(value))}" r="3" fill="${color}"/>`).join('');
    return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"/>${dots}
  <text x="${width - right + 12}" y="${top + 14 + index * 18}" fill="${color}">${label}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
  <title>${escaped(title)}</title>
  <rect width="100%" height="100%" fill="#fff"/>
  ${[...grid, ...marks, ...drawn].join('\n  ')}
  <text x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">${escaped(axis)}; 1 is the first point</text>
</svg>
`;
}

function gridValues(most: number): number[] {
  const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find((one) => most / one <= 6) ?? most;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}

function short(value: number): string {
  return value >= 1000 ? `${value / 1000}k` : String(value);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
