/** The sections `standing` and `directory` of relay.yaml: how often grants are looked at again, and whom is asked. */
import * as z from 'zod/mini';
import { scimMatches, type ScimSettings } from '../oidc/scim.ts';
import { parseSecureUrl } from '../oidc/secure-url.ts';
import { GateError } from '../errors/errors.ts';
import { Duration } from '../policy/policy-file.ts';

const everyDefault = 300;
const everySecondsMin = 10;

const Every = Duration.check(z.refine((seconds) => seconds >= everySecondsMin, `write at least ${everySecondsMin}s`));
const text = z.string().check(z.minLength(1));

export const StandingFile = z.strictObject({ every: z._default(Every, everyDefault) });

export const DirectoryFile = z.strictObject({
  scim: text,
  tokenFile: text,
  match: z._default(z.enum(scimMatches), 'externalId'),
  every: z._default(Every, everyDefault),
});

export type DirectoryConfig = ScimSettings & {
  /** An answer counts for so long. */
  readonly everySeconds: number;
};

/** Fails with `config-invalid`. */
export async function resolveDirectory(file: z.infer<typeof DirectoryFile>, readToken: (name: string) => Promise<string>): Promise<DirectoryConfig> {
  const url = parseSecureUrl(file.scim, 'directory.scim', 'config-invalid');
  if (url.search !== '' || url.hash !== '') throw new GateError('config-invalid', 'directory.scim must be the base URL, without ? and #');
  const token = await readToken(file.tokenFile);
  if (!/^[\x21-\x7e]+$/.test(token)) throw new GateError('config-invalid', `the token of the directory in ${file.tokenFile} must be one line without blanks`);
  return { url: url.href.replace(/\/+$/, ''), token, match: file.match, everySeconds: file.every };
}
