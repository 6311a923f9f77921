/** Detectors: what they find, what they leave alone, and that no text takes them more than linear time. */
import { describe, expect, test } from 'vitest';
import { detect, maskSpans } from '../../src/mask/detect.ts';
import { detectorKinds, type DetectorKind } from '../../src/mask/plan.ts';

function found(text: string, kinds: readonly DetectorKind[] = detectorKinds): string[] {
  return detect(text, kinds).map(({ start, end, kind }) => `${kind} ${text.slice(start, end)}`);
}

describe('what is found', () => {
  test.each<[DetectorKind, string, string]>([
    ['card', 'called about 4111111111111111', '4111111111111111'],
    ['card', '4111-1111-1111-1111.', '4111-1111-1111-1111'],
    ['card', 'card 4111 1111 1111 1111 12/29', '4111 1111 1111 1111'],
    ['card', 'amex 3782 822463 10005', '3782 822463 10005'],
    ['card', '{"card":"5555555555554444"}', '5555555555554444'],
    ['card', 'PAN4929420910031111,', '4929420910031111'],
    ['card', '2223003122003222', '2223003122003222'],
    ['card', '6011111111111117', '6011111111111117'],
    ['card', '30569309025904', '30569309025904'],
    ['card', '3530111333300000', '3530111333300000'],
    ['card', '4111111111111111.00', '4111111111111111'],
    ['iban', 'to NL91ABNA0417164300, please', 'NL91ABNA0417164300'],
    ['iban', 'DE89 3704 0044 0532 0130 00', 'DE89 3704 0044 0532 0130 00'],
    ['iban', 'fr1420041010050500013m02606', 'fr1420041010050500013m02606'],
    ['ssn', 'ssn: 219-09-9999', '219-09-9999'],
    ['email', 'write to <ann.ames+x@mail.test>', 'ann.ames+x@mail.test'],
    ['email', 'a@b.co.', 'a@b.co'],
    ['phone', 'call +31-6-11112222 now', '+31-6-11112222'],
    ['phone', '+1 (555) 867-5309', '+1 (555) 867-5309'],
    ['phone', '+4915112345678', '+4915112345678'],
    ['phone', 'or (415) 555-2671', '(415) 555-2671'],
    ['secret', `Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${'s'.repeat(43)}`, `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${'s'.repeat(43)}`],
    ['secret', 'key AKIAIOSFODNN7EXAMPLE', 'AKIAIOSFODNN7EXAMPLE'],
    ['secret', `AIza${'x'.repeat(35)}`, `AIza${'x'.repeat(35)}`],
    ['secret', `ghp_${'a1'.repeat(18)}`, `ghp_${'a1'.repeat(18)}`],
    ['secret', `github_pat_${'a1'.repeat(20)}`, `github_pat_${'a1'.repeat(20)}`],
    ['secret', `xoxb-${'1'.repeat(12)}-abc`, `xoxb-${'1'.repeat(12)}-abc`],
    ['secret', 'x -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- y', '-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----'],
  ])('%s in %j', (kind, text, expected) => {
    expect(found(text)).toEqual([`${kind} ${expected}`]);
  });
});

describe('what is left alone', () => {
  test.each([
    '550e8400-e29b-41d4-a716-446655440000',
    '00000000-0000-4111-1111-111111111111',
    '2026-03-01 12:30:45.123456+00',
    '2026-03-01T12:30:45Z',
    '2026-01-01 00:00:00+10:30',
    '1764149246000',
    '1764149246000000',
    '4111111111111112',
    '41111111111111112222',
    'a4111111111111111b',
    '0.4111111111111111',
    'order 1234567',
    '9999999999999999',
    '000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000',
    '123-45-6789-0',
    'NL91ABNA0417164301',
    'NL91ABNA04171643000',
    '***@mail.test',
    'a @ b.test, @mention, a@b',
    '+12 and 1+123',
    '192.168.100.200',
    'eyJhbGciOiJIUzI1NiJ9',
    'akia',
  ])('%j', (text) => {
    expect(found(text)).toEqual([]);
  });
});

test('only the kinds that are asked for are looked for', () => {
  expect(found('4111111111111111 ann@mail.test', ['email'])).toEqual(['email ann@mail.test']);
});

test('of a card the last four digits stay, of others nothing, and lengths where they matter', () => {
  const text = 'ann@mail.test has 4111 1111 1111 1111 and 219-09-9999';
  expect(maskSpans(text, detect(text, detectorKinds))).toBe('[redacted] has ************1111 and [redacted]');
  const same = maskSpans(text, detect(text, detectorKinds), 'same-length');
  expect(same).toBe('************* has ***************1111 and ***********');
  expect(same).toHaveLength(text.length);
});

test('spans do not overlap, and cover all that was found', () => {
  const text = 'x4111111111111111@mail.test';
  expect(detect(text, ['card', 'email'])).toEqual([{ start: 0, end: text.length, kind: 'email' }]);
});

describe('hostile texts of 1 MB cost as much for each byte as ones of 64 kB', () => {
  const hostile: readonly [string, string][] = [
    ['digits', '4'],
    ['groups', '4111 '],
    ['dashes', '4111-'],
    ['heads of tokens', 'eyJ'],
    ['heads of tokens and dots', 'eyJaaaaaaaa.'],
    ['ats', 'a@'],
    ['domains', 'a.a@a.'],
    ['local parts', 'a.b-'],
    ['pluses', '+1'],
    ['phones', '+1-2-3-4-5'],
    ['numbers', '123-45-'],
    ['accounts', 'DE89 '],
    ['account heads', 'NL91NL91'],
    ['keys', '-----BEGIN PRIVATE KEY-----'],
    ['key heads', '-----BEGIN A '],
    ['GitHub', 'ghp_'],
    ['GitHub again', 'github_pat_'],
    ['Slack', 'xoxb-'],
    ['hex', 'abcdef01-'],
  ];

  /** The least of a few runs, in units that the machine's load does not reach: the same machine's time for the short text. */
  function cost(text: string): number {
    let least = Infinity;
    for (let run = 0; run < 3; run++) {
      const before = process.cpuUsage();
      detect(text, detectorKinds);
      const { user, system } = process.cpuUsage(before);
      least = Math.min(least, user + system);
    }
    return least;
  }

  test.each(hostile)('%s', (_, unit) => {
    const text = (bytes: number) => unit.repeat(Math.ceil(bytes / unit.length));
    const short = Math.max(cost(text(64 * 1024)), 2000);
    // 16 times the text; a quadratic pattern would take 256 times as long.
    expect(cost(text(1024 * 1024))).toBeLessThan(short * 64);
  }, 60_000);
});
