/** A SCIM 2.0 service on loopback, as RFC 7644 has it: /Users with a filter of one `eq`, /Users/{id}, and errors. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type ScimUser = {
  readonly id: string;
  readonly externalId?: string;
  readonly userName: string;
  readonly active?: unknown;
  readonly groups?: readonly { readonly value?: string; readonly display?: string }[];
};

export type ScimServer = {
  readonly url: string;
  readonly users: Map<string, ScimUser>;
  /** Of every request, in order. */
  readonly asked: string[];
  /** Answers in place of the service, until it is undefined again. */
  instead: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  [Symbol.asyncDispose](): Promise<void>;
};

export const scimToken = 'scim-canary-5512';
const type = { 'content-type': 'application/scim+json' };

export async function startScimServer(users: readonly ScimUser[] = []): Promise<ScimServer> {
  const server = createServer((request, response) => {
    scim.asked.push(request.url ?? '');
    (scim.instead ?? ((_, answer) => serve(scim.users, request, answer)))(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const scim: ScimServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/scim/v2`,
    users: new Map(users.map((user) => [user.id, user])),
    asked: [],
    instead: undefined,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return scim;
}

function serve(users: ReadonlyMap<string, ScimUser>, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost');
  if (request.headers.authorization !== `Bearer ${scimToken}`) return fail(response, 401, 'the token is not valid');
  const id = /^\/scim\/v2\/Users\/([^/]+)$/.exec(pathname)?.[1];
  if (id !== undefined) {
    const user = users.get(decodeURIComponent(id));
    return user === undefined ? fail(response, 404, 'no such user') : void response.writeHead(200, type).end(JSON.stringify(resourceOf(user)));
  }
  if (pathname !== '/scim/v2/Users') return void response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not Found</h1>');
  const found = filter([...users.values()], searchParams.get('filter') ?? '');
  if (found === undefined) return fail(response, 400, 'the filter is not valid', 'invalidFilter');
  const list = { schemas: ['urn:ietf:params:scim:api:messages:2.0:ListResponse'], totalResults: found.length, startIndex: 1, itemsPerPage: found.length };
  response.writeHead(200, type).end(JSON.stringify({ ...list, Resources: found.map(resourceOf) }));
}

/** `attrPath SP "eq" SP compValue`, the value being a JSON string; userName ignores case, the others do not. */
function filter(users: readonly ScimUser[], text: string): ScimUser[] | undefined {
  const match = /^(externalId|userName) eq ("(?:[^"\\]|\\.)*")$/i.exec(text);
  if (match === null) return undefined;
  const value = JSON.parse(match[2] as string) as string;
  return users.filter((user) => (match[1] === 'externalId' ? user.externalId === value : user.userName.toLowerCase() === value.toLowerCase()));
}

function resourceOf(user: ScimUser): object {
  return { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], ...user, meta: { resourceType: 'User' } };
}

function fail(response: ServerResponse, status: number, detail: string, scimType?: string): void {
  response.writeHead(status, type).end(JSON.stringify({ schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'], status: String(status), detail, scimType }));
}
