/** gate doctor on a target with masks: what it says to whom, and the SQL that it prints. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRelayFixture, type RelayFixture } from '../relay/fixture.ts';
import { doctor, doctorText } from './doctor-stage.ts';

const policy = `
auditors: [audit]
targets:
  prod-db:
    masks:
      rules: [{ name: names, columns: [public.items.name], mask: redact }, { name: clear, columns: [public.items.id, public.items.data], mask: clear }]
    roles:
      engineer: { groups: [engineering], allow: [read], maxDuration: 8h }
      reader: { groups: [operations], allow: [read], maxDuration: 8h }
`;

let fixture: RelayFixture;
let directory: string;
beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  directory = await mkdtemp(join(tmpdir(), 'gate-doctor-masking-'));
}, 60_000);
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const as = async (account: string) => ({
  environment: { GATE_CONFIG_DIR: directory, GATE_RELAY: fixture.relayUrl, GATE_TOKEN: await (await fixture.clientFor(account)).accessToken() },
  target: 'prod-db',
});

test('the level for who works there, findings for who keeps the policy', async () => {
  expect((await doctor(await as('engineer'))).check('masking')).toEqual({ name: 'masking', status: 'ok', detail: 'columns of prod-db are masked, proven' });
  const { detail, status, fix } = (await doctor(await as('operator'))).check('masking');
  expect([status, fix]).toEqual(['warning', 'gate doctor prod-db --sql prints what would make it airtight.']);
  expect(detail).toContain('masked, proven and no better because the database role gate_relay of the relay is a superuser');
});

test('--sql prints SQL and nothing else, for who keeps the policy only', async () => {
  const { code, text } = await doctorText({ ...(await as('operator')), flags: { sql: true } });
  expect(code).toBe(0);
  expect(text).toMatch(/^-- Read this/);
  expect(text).toContain('REVOKE ALL ON "public"."items" FROM PUBLIC');
  await expect(doctorText({ ...(await as('engineer')), flags: { sql: true } })).rejects.toThrow('only administrators and auditors');
  await expect(doctorText({ environment: (await as('operator')).environment, flags: { sql: true } })).rejects.toThrow('--sql wants a target');
});
