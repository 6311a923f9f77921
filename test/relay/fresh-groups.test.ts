/** Tokens that are too old to know the groups of now: renewed where they can be, refused in clear words where not. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadClientConfig } from '../../src/client/config.ts';
import { login } from '../../src/client/login.ts';
import { createRelayClient } from '../../src/client/relay-client.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const maxAgeSeconds = 10;
const policy = `
approvers: { leads: { groups: [dba] } }
targets:
  prod-db:
    roles:
      reader: { groups: [engineering], allow: [read] }
      admin: { groups: [engineering], allow: [read], approval: { by: [leads] } }
`;
let fixture: RelayFixture;
let directory: string;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy, groupsMaxAge: `${maxAgeSeconds}s` });
  directory = await mkdtemp(join(tmpdir(), 'gate-fresh-'));
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

test('what is decided by groups wants a token that is not old; a stored login is renewed for it by itself', async () => {
  const config = await loadClientConfig({ relay: fixture.relayUrl }, { GATE_CONFIG_DIR: directory, GATE_KEYCHAIN: 'off' });
  await login(config, {
    onPrompt: ({ verificationUri, userCode }) => approveDevice({ verificationUri, userCode, account: 'engineer', decision: 'approve' }),
    signal: AbortSignal.timeout(60_000),
    warn: () => undefined,
  });
  const stored = createRelayClient(config, { warn: () => undefined });
  const bare = await fixture.logInAgain('engineer');
  const first = await stored.accessToken();
  expect(await stored.createGrant({ target: 'prod-db', role: 'reader' })).toMatchObject({ role: 'reader' });
  await new Promise((resolve) => setTimeout(resolve, (maxAgeSeconds + 2) * 1000));

  const tooOld = { code: 'login-required', exitCode: 4, message: expect.stringMatching(/^your token is 1\d s old, and for this it may be 10 s old at most/), hint: expect.stringContaining('GATE_TOKEN') };
  await expect(bare.createGrant({ target: 'prod-db', role: 'reader' })).rejects.toMatchObject(tooOld);
  await expect(bare.createRequest({ target: 'prod-db', role: 'admin' })).rejects.toMatchObject(tooOld);
  await expect(bare.approve('r_x', {})).rejects.toMatchObject(tooOld);
  await expect(bare.deny('r_x')).rejects.toMatchObject(tooOld);
  await expect(bare.revokeGrant('g_x')).rejects.toMatchObject(tooOld);
  expect(await bare.whoAmI()).toMatchObject({ name: 'engineer' });
  expect(await bare.requests()).toEqual([]);

  // The groups have changed since the login, and the renewed token says so.
  fixture.provider.setGroups('engineer', ['sales']);
  await expect(stored.createGrant({ target: 'prod-db', role: 'reader' })).rejects.toMatchObject({ code: 'target-unknown' });
  expect(await stored.accessToken()).not.toBe(first);
});
