/** Settings (GUCs) that change how text is read, who is acting, or whether the session may write. */

/** Settings under which the server reads text as the relay's parser does; they may be set to these values only. */
export const pinnedSettings: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF8'],
  ['standard_conforming_strings', 'on'],
]);

/** Whether two spellings of a pinned setting mean the same: utf-8 is UTF8, true is on. */
export function isSameSetting(value: string, pinned: string): boolean {
  const spelled = value.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  if (pinned === 'on') return ['on', 'true', 'yes', '1'].includes(spelled);
  return spelled === pinned.toLowerCase() || spelled === 'unicode';
}

export function isActingSetting(name: string): boolean {
  return ['role', 'session_authorization'].includes(name.toLowerCase());
}

/** Settings by which a session could leave read-only mode. */
export function liftsReadOnly(name: string): boolean {
  return ['transaction_read_only', 'default_transaction_read_only'].includes(name.toLowerCase());
}
