/** Credentials in a text, by the forms that their makers have given them to be recognised by. */
import type { Found } from './found.ts';

/** Each begins where a word begins and is bounded or ends with its run of characters, so no run is read more than a few times. */
const forms: readonly RegExp[] = [
  // JSON Web Token: a header and a body that both begin with {", and a signature.
  /(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}/g,
  // Amazon access keys.
  /(?<![0-9a-z])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9a-z])/gi,
  // Google API keys.
  /(?<![\w-])AIza[\w-]{35}(?![\w-])/g,
  // GitHub tokens, old and fine-grained.
  /(?<![0-9a-z_])gh[oprsu]_[0-9a-z]{36,255}/gi,
  /(?<![0-9a-z_])github_pat_\w{22,255}/gi,
  // Slack tokens.
  /(?<![0-9a-z-])xox[abeoprs]-[0-9a-z-]{10,255}/gi,
  // Stripe keys.
  /(?<![0-9a-z_])[rs]k_live_[0-9a-z]{16,255}/gi,
];

export function findSecrets(text: string): Found {
  const found = forms.flatMap((form) => [...text.matchAll(form)].map(({ index, 0: secret }) => [index, index + secret.length] as const));
  return [...found, ...findKeyBlocks(text)].toSorted(([a], [b]) => a - b);
}

const keyBegin = /-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----/g;
const keyEnd = /-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----/g;

/** Up to the end of the block, or of the text where it is cut off. */
function findKeyBlocks(text: string): Found {
  const blocks: [number, number][] = [];
  for (let past = 0; ; ) {
    keyBegin.lastIndex = past;
    const begin = keyBegin.exec(text);
    if (begin === null) return blocks;
    keyEnd.lastIndex = begin.index;
    const end = keyEnd.exec(text);
    past = end === null ? text.length : end.index + end[0].length;
    blocks.push([begin.index, past]);
  }
}
