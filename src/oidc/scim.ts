/** Asks a SCIM 2.0 directory (RFC 7644) for one person: whether they are active, and their groups. */
import * as z from 'zod/mini';
import { describeNetworkFailure } from './network-failure.ts';
import { messageOf } from '../errors/errors.ts';

/** Larger answers are not read; one person in thousands of groups fits. */
export const scimBytesMax = 2 * 1024 * 1024;
/** For the whole exchange. */
const timeoutMs = 5000;

export const scimMatches = ['externalId', 'userName', 'id'] as const;
/** The attribute that holds the `sub` of a login. */
export type ScimMatch = (typeof scimMatches)[number];

export type ScimSettings = {
  /** Without a trailing slash; https, or http on loopback. */
  readonly url: string;
  readonly token: string;
  readonly match: ScimMatch;
};

export type ScimPerson = { readonly isActive: boolean; readonly groups: readonly string[] };

/** Some directories write truth values as text. */
const Flag = z.union([z.boolean(), z.pipe(z.string().check(z.regex(/^(?:true|false)$/i)), z.transform((text: string) => text.toLowerCase() === 'true'))]);

/** RFC 7643, section 4.1. A list that is absent, null or empty is the same (section 2.5). */
const User = z.object({
  id: z.optional(z.string()),
  externalId: z.nullish(z.string()),
  userName: z.nullish(z.string()),
  active: z.nullish(Flag),
  groups: z.nullish(z.array(z.object({ value: z.nullish(z.string()), display: z.nullish(z.string()) }))),
});
type User = z.infer<typeof User>;
const ListResponse = z.object({ totalResults: z.number(), Resources: z.nullish(z.array(User)) });
const ScimError = z.object({ schemas: z.array(z.string()) });

/**
 * Undefined where the directory says that there is nobody of this `sub`. Rejects, with a reason in words, for everything
 * else that is no clear answer: a person must not seem to have left because a proxy answered.
 */
export async function findScimPerson(settings: ScimSettings, subject: string): Promise<ScimPerson | undefined> {
  const { url, match } = settings;
  if (match === 'id') {
    const { status, text } = await get(settings, `${url}/Users/${encodeURIComponent(subject)}`);
    if (status === 404 && isScimError(text)) return undefined;
    return personOf(parse(User, checked(status, text)), match, subject);
  }
  // RFC 7644, section 3.4.2.2: the value is a JSON string, so that no quote in it can end it.
  const filter = `${match} eq ${JSON.stringify(subject)}`;
  const { status, text } = await get(settings, `${url}/Users?${new URLSearchParams({ filter }).toString()}`);
  const { totalResults, Resources } = parse(ListResponse, checked(status, text));
  const found = Resources ?? [];
  if (totalResults === 0 && found.length === 0) return undefined;
  const exact = found.filter((user) => user[match] === subject);
  const [user] = exact;
  if (user === undefined || exact.length > 1) throw new Error(`it answered with ${exact.length} people of this ${match} among ${totalResults}`);
  return personOf(user, match, subject);
}

function personOf(user: User, match: ScimMatch, subject: string): ScimPerson {
  if (user[match] !== subject) throw new Error(`it answered with somebody of another ${match}`);
  const groups = (user.groups ?? []).flatMap(({ value, display }) => [value, display].filter((name) => typeof name === 'string'));
  return { isActive: user.active ?? true, groups: [...new Set(groups)] };
}

async function get({ token }: ScimSettings, url: string): Promise<{ readonly status: number; readonly text: string }> {
  try {
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${token}`, accept: 'application/scim+json, application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of response.body ?? []) {
      length += chunk.length;
      if (length > scimBytesMax) throw new Error(`its answer is larger than ${scimBytesMax} bytes`);
      chunks.push(chunk);
    }
    return { status: response.status, text: Buffer.concat(chunks).toString('utf8') };
  } catch (error) {
    throw new Error(describeNetworkFailure(error).reason, { cause: error });
  }
}

function checked(status: number, text: string): string {
  if (status !== 200) throw new Error(`it answered ${status}`);
  return text;
}

function parse<T extends z.ZodMiniType>(schema: T, text: string): z.infer<T> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`its answer is not JSON: ${messageOf(error).slice(0, 100)}`, { cause: error });
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new Error(`its answer is not SCIM: ${parsed.error.issues[0]?.path.join('.') || 'it'} is not valid`);
  return parsed.data;
}

function isScimError(text: string): boolean {
  try {
    return ScimError.safeParse(JSON.parse(text)).data?.schemas.includes('urn:ietf:params:scim:api:messages:2.0:Error') === true;
  } catch {
    return false;
  }
}
