/** A login at a database hashes the password once for each salt, and never takes what was kept for another. */
import { expect, test } from 'vitest';
import { saltPassword } from '../../src/pgwire/scram.ts';
import type { Target } from '../../src/relay/config.ts';
import { saltFor } from '../../src/relay/salted-passwords.ts';

const target = (): Target => ({ name: 'db', host: 'h', port: 1, database: 'd', user: 'u', tls: 'disable', durability: 'os' });
const [salt, other] = [Buffer.from('0123456789abcdef'), Buffer.from('fedcba9876543210')];

test('the same password, salt and iterations give the kept key; anything else is computed anew', () => {
  const salting = saltFor(target());
  const first = salting('secret', salt, 4096);
  expect(first).toEqual(saltPassword('secret', salt, 4096));
  expect(salting('secret', Buffer.from(salt), 4096)).toBe(first);
  for (const [password, given, iterations] of [['Secret', salt, 4096], ['secret', other, 4096], ['secret', salt, 4097]] as const) {
    expect(salting(password, given, iterations)).toEqual(saltPassword(password, given, iterations));
  }
  // One is kept: the last.
  expect(salting('secret', salt, 4096)).not.toBe(first);
});

test('another target, or the same after its configuration was read again, has none', () => {
  const first = saltFor(target())('secret', salt, 4096);
  expect(saltFor(target())('secret', salt, 4096)).not.toBe(first);
});
