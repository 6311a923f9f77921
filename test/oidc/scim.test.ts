/** The SCIM client against a service that keeps to the RFC, and against answers that must not pass for one. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findScimPerson, scimBytesMax, type ScimMatch } from '../../src/oidc/scim.ts';
import { scimToken, startScimServer, type ScimServer } from './scim-server.ts';

const awkward = `o'brien "q" \\ ) or userName pr & é`;
let scim: ScimServer;
beforeAll(async () => {
  scim = await startScimServer([
    { id: '2819c223', externalId: 'sub-erin', userName: 'erin', active: true, groups: [{ value: 'e9e30dba', display: 'engineering' }, { value: 'ops' }] },
    { id: '2', externalId: 'sub-eve', userName: 'eve', active: false },
    { id: '3', externalId: awkward, userName: 'brien', groups: [] },
    { id: '4', externalId: 'sub-text', userName: 'text', active: 'False' },
    { id: 'a/b?c', externalId: 'twice', userName: 'a' },
    { id: '6', externalId: 'twice', userName: 'Bo' },
  ]);
});
afterAll(() => scim?.[Symbol.asyncDispose]());
beforeEach(() => {
  scim.instead = undefined;
});

const find = (subject: string, match: ScimMatch = 'externalId', token = scimToken) => findScimPerson({ url: scim.url, token, match }, subject);

describe('a service by the RFC', () => {
  test.each<[string, string, ScimMatch, object | undefined]>([
    ['by externalId, with groups by value and display', 'sub-erin', 'externalId', { isActive: true, groups: ['e9e30dba', 'engineering', 'ops'] }],
    ['by userName', 'erin', 'userName', { isActive: true, groups: ['e9e30dba', 'engineering', 'ops'] }],
    ['by id', '2819c223', 'id', { isActive: true, groups: ['e9e30dba', 'engineering', 'ops'] }],
    ['an id that could be read as a path', 'a/b?c', 'id', { isActive: true, groups: [] }],
    ['somebody who is not active', 'sub-eve', 'externalId', { isActive: false, groups: [] }],
    ['truth as text', 'sub-text', 'externalId', { isActive: false, groups: [] }],
    ['a value that would end the filter, or add to it', awkward, 'externalId', { isActive: true, groups: [] }],
    ['nobody', 'sub-nobody', 'externalId', undefined],
    ['nobody by id', 'nobody', 'id', undefined],
    ['not somebody whose filter would hold', 'x" or userName eq "erin', 'externalId', undefined],
  ])('%s', async (_, subject, match, expected) => {
    expect(await find(subject, match)).toEqual(expected);
  });

  test('two of the same are nobody in particular, and neither is one in another case', async () => {
    await expect(find('twice')).rejects.toThrow('it answered with 2 people of this externalId among 2');
    await expect(find('bo', 'userName')).rejects.toThrow('it answered with 0 people of this userName among 1');
  });

  test('another token is not an answer about people', async () => {
    await expect(find('sub-erin', 'externalId', 'wrong')).rejects.toThrow('it answered 401');
    await expect(find('2', 'id', 'wrong')).rejects.toThrow('it answered 401');
  });
});

describe('no clear answer is never "nobody"', () => {
  const json = (body: unknown, status = 200) => (_: unknown, response: ServerResponse) => void response.writeHead(status).end(JSON.stringify(body));
  test.each<[string, NonNullable<ScimServer['instead']>, string, ScimMatch?]>([
    ['a 404 of the list, as of a wrong base URL', json({ error: 'x' }, 404), 'it answered 404'],
    ['a 404 that is not SCIM', json({ error: 'x' }, 404), 'it answered 404', 'id'],
    ['a proxy', (_, response) => void response.writeHead(200).end('<html>'), 'its answer is not JSON'],
    ['another shape', json({ users: [] }), 'its answer is not SCIM: totalResults'],
    ['null', json(null), 'its answer is not SCIM'],
    ['more than it shows', json({ totalResults: 3 }), 'it answered with 0 people of this externalId among 3'],
    ['everybody, as a service that takes no filter', json({ totalResults: 2, Resources: [{ externalId: 'a' }, { externalId: 'b' }] }), '0 people'],
    ['somebody else', json({ id: 'other', active: true }), 'somebody of another id', 'id'],
    ['active as a number', json({ totalResults: 1, Resources: [{ externalId: 'sub-erin', active: 1 }] }), 'not SCIM: Resources.0.active'],
    ['a redirect', (_, response) => void response.writeHead(302, { location: `${scim.url}/Users/2819c223` }).end(), 'redirect'],
    ['a connection that is cut', (request) => void request.socket.destroy(), 'the connection was cut'],
    ['too much', (_, response) => void response.writeHead(200).end(`"${'x'.repeat(scimBytesMax)}"`), `larger than ${scimBytesMax} bytes`],
    ['a failure', json({ schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'], status: '500' }, 500), 'it answered 500', 'id'],
  ])('%s', async (_, instead, message, match) => {
    scim.instead = instead;
    await expect(find('sub-erin', match)).rejects.toThrow(message);
  });

  test('what is not there is told as that', async () => {
    const gone = await startScimServer();
    await gone[Symbol.asyncDispose]();
    await expect(findScimPerson({ url: gone.url, token: scimToken, match: 'externalId' }, 'x')).rejects.toThrow('nothing listens there');
  });
});
