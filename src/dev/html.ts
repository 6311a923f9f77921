/** The demo provider's pages. Everything that is not ours is escaped; no scripts, nothing from other hosts. */

/** Markup that is safe to put into a page. */
export class Html {
  constructor(readonly text: string) {}
}

/** Template tag: interpolated strings are escaped, `Html` and arrays of it are not. */
export function html(parts: TemplateStringsArray, ...values: readonly (string | Html | readonly Html[])[]): Html {
  return new Html(parts.map((part, index) => part + toMarkup(values[index] ?? '')).join(''));
}

function toMarkup(value: string | Html | readonly Html[]): string {
  if (value instanceof Html) return value.text;
  return typeof value === 'string' ? escapeHtml(value) : value.map(({ text }) => text).join('\n');
}

export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; place-items: center; min-height: 100vh; background: light-dark(#eef1f4, #14181c); }
main { width: min(26rem, 90vw); padding: 2rem; border-radius: 12px; background: light-dark(#fff, #20262c); }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; }
code { display: block; margin: 1rem 0; font-size: 2rem; letter-spacing: .1em; text-align: center; }
input[type=text] { box-sizing: border-box; width: 100%; padding: .6rem; font: inherit; text-align: center; }
input[type=text] { text-transform: uppercase; }
button { width: 100%; margin-top: .6rem; padding: .7rem; border: 1px solid #8a949e; border-radius: 8px; }
button { font: inherit; background: transparent; color: inherit; cursor: pointer; text-align: left; }
button.main { border-color: #1f6f54; background: #1f6f54; color: #fff; text-align: center; }
button.deny { text-align: center; }
.warn { padding: .6rem .8rem; border-left: 4px solid #c77700; background: light-dark(#fff4e0, #3a2c12); }
small { opacity: .75; }
`;

/** `outcome` is put where a program can read it: how the device flow ended, or `open`. */
export function page(title: string, body: Html, outcome: Outcome = 'open'): string {
  return html`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>${new Html(STYLE)}</style></head>
<body><main data-outcome="${outcome}"><h1>${title}</h1>
${body}
</main></body>
</html>
`.text;
}

export type Outcome = 'open' | 'approved' | 'denied' | 'failed';

export const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
} as const;
