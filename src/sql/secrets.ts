/** Where SQL texts carry passwords and keys, and how to write a text down without them. */

/** Names of options and settings whose values are credentials. */
const secretName = /passw|passphrase|passcode|secret|token|credential|conninfo|private|(?:^|[._])(?:pwd|pass|dsn|apikey|authkey)(?:$|_)|(?:api|access|account|auth|jwt|server|client|encryption|signing)_?key/i;

/** Credentials inside a literal: a connection string, a URL, a statement in a function's body, a key file. */
const secretText =
  /passw(?:or)?d\s*=|:\/\/[^\s/:@']{1,200}:[^\s/@']{1,200}@|passw(?:or)?d\s{1,20}(?:'|\$|E')|bearer\s{1,20}[\w.-]{20}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY/i;

export function isSecretName(name: string): boolean {
  return secretName.test(name);
}

export function holdsSecret(literal: string): boolean {
  return secretText.test(literal);
}

/** `start` and `end` are byte offsets. */
export type Token = { readonly start: number; readonly end: number; readonly text: string; readonly tokenName: string };

const hidden = "'…'";
const isLiteral = /^(?:(?:[ebxn]|u&)?'|\$(?!\d+$))/i;

/**
 * The text with every quoted literal and every comment hidden, and with what begins at one of the byte `offsets`: SET
 * takes a bare word as well. Names and numbers stay.
 */
export function hideTokens(sql: string, tokens: readonly Token[], offsets: readonly number[]): string {
  const bytes = Buffer.from(sql, 'utf8');
  const parts: string[] = [];
  let at = 0;
  for (const token of tokens) {
    const isComment = token.tokenName.endsWith('_COMMENT');
    if (!isComment && !isLiteral.test(token.text) && !offsets.includes(token.start)) continue;
    parts.push(bytes.subarray(at, token.start).toString('utf8'), isComment ? '/* … */' : hidden);
    at = token.end;
  }
  return [...parts, bytes.subarray(at).toString('utf8')].join('');
}

/** Whether a text that cannot be parsed speaks of a secret, which may then be any word of it. */
export function namesSecret(sql: string): boolean {
  return /passw|secret|token/i.test(sql);
}

/** A text without sound tokens is cut where the first quote, comment or telling word begins. */
export function cutAtSecret(sql: string): string {
  const at = sql.search(/['"$]|--|\/\*|passw|secret|token|\0/i);
  return at === -1 ? sql : `${sql.slice(0, at)}…`;
}
