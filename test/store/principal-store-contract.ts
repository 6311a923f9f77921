/** What every PrincipalStore promises, run against each implementation. */
import { describe, expect, test } from 'vitest';
import type { PrincipalStore } from '../../src/grant/request-store.ts';
import { at, dora, erin } from '../grant/fixtures.ts';

/** `make` gives a new empty store; closing it is its own business. */
export function principalStoreContract(name: string, make: () => Promise<PrincipalStore>): void {
  describe(`the PrincipalStore ${name}`, () => {
    test('keeps what the newest token says, in whatever order tokens come', async () => {
      const store = await make();
      expect(await store.newest(erin)).toBeUndefined();
      await store.see(erin, at(10));
      await store.see(dora, at(11));
      expect(await store.newest(erin)).toEqual(erin);
      await store.see({ ...erin, groups: [], name: 'Erin' }, at(20));
      await store.see(erin, at(15));
      expect(await store.newest(erin)).toEqual({ ...erin, groups: [], name: 'Erin' });
      await store.see({ ...erin, groups: ['audit'] }, at(20));
      expect(await store.newest(erin)).toMatchObject({ groups: ['audit'] });
      expect(await store.newest({ ...erin, issuer: 'https://other' })).toBeUndefined();
      expect(await store.newest(dora)).toEqual(dora);
    });
  });
}
