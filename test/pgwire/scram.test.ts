/** SCRAM-SHA-256: both halves against each other, against RFC 7677, and against a real server; and every way to cheat. */
import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { createVerifier, iterationsMax, parseVerifier, ScramClient, ScramServer } from '../../src/pgwire/scram.ts';
import { RawClient } from '../relay/raw-client.ts';

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
const nonce = () => randomBytes(18).toString('base64');
const wrong = expect.objectContaining({ code: 'tunnel-password' }) as Error;
const malformed = expect.objectContaining({ code: 'protocol-violation' }) as Error;
const hostileServer = expect.objectContaining({ code: 'upstream-protocol' }) as Error;

function serverOf(password: string, serverNonce = nonce()): ScramServer {
  return new ScramServer(parseVerifier(createVerifier(password, salt)), serverNonce);
}

describe('RFC 7677, section 3', () => {
  const rfc = {
    clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
    serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    clientFinal: 'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  };

  test('the server half answers as the example does', () => {
    const server = serverOf('pencil', '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0');
    expect(server.start(rfc.clientFirst)).toBe(rfc.serverFirst);
    expect(server.finish(rfc.clientFinal)).toBe(rfc.serverFinal);
  });

  test('no byte of the proof may differ', () => {
    const at = rfc.clientFinal.indexOf('p=') + 2;
    for (let index = at; index < rfc.clientFinal.length - 2; index++) {
      const server = serverOf('pencil', '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0');
      server.start(rfc.clientFirst);
      const letter = rfc.clientFinal[index] === 'A' ? 'B' : 'A';
      const changed = rfc.clientFinal.slice(0, index) + letter + rfc.clientFinal.slice(index + 1);
      expect(() => server.finish(changed)).toThrow(wrong);
    }
  });
});

test('both halves agree on the right password and on no other', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 40 }), fc.string({ minLength: 1, maxLength: 40 }), (password, other) => {
      const server = serverOf(password);
      const client = new ScramClient(password, nonce());
      client.verify(server.finish(client.answer(server.start(client.clientFirst))));
      if (other === password) return;
      const second = serverOf(password);
      const liar = new ScramClient(other, nonce());
      const proof = liar.answer(second.start(liar.clientFirst));
      expect(() => second.finish(proof)).toThrow(wrong);
    }),
    { numRuns: 25 },
  );
});

describe('a client that cheats', () => {
  test.each([
    ['p=tls-unique,,n=u,r=abc', 'channel binding that was not offered'],
    ['p=tls-server-end-point,,n=u,r=abc', 'channel binding that was not offered'],
    ['n,,m=ext,n=u,r=abc', 'a mandatory extension'],
    ['n,a=admin,n=u,r=abc', 'another identity'],
    ['n,,n=u,r=abc,ext=1', 'an extension'],
    ['n,,n=u,r=', 'no nonce'],
    ['n,,n=u,r=a b', 'a blank in the nonce'],
    ['n,,n=u,r=a\nb', 'a line break in the nonce'],
    ['n,,n=u,r=é', 'a nonce that is not ASCII'],
    ['n,,r=abc', 'no user'],
    ['x,,n=u,r=abc', 'an unknown flag'],
    ['', 'nothing'],
    ['n,,n=u,r=abc\0', 'a zero byte'],
  ])('%j: %s', (clientFirst) => {
    expect(() => serverOf('x').start(clientFirst)).toThrow(malformed);
  });

  const clientNonce = 'fyko-d2lbbFgONRv9qkx';

  function exchange(change: (final: string) => string, header = 'n,,'): () => string {
    const server = serverOf('right');
    const client = new ScramClient('right', clientNonce);
    const serverFirst = server.start(client.clientFirst.replace('n,,', header));
    const final = client.answer(serverFirst);
    return () => server.finish(change(final));
  }

  test('the plain exchange works, so that what fails below fails for its change', () => {
    expect(exchange((final) => final)()).toMatch(/^v=/);
  });

  test('the flag y is bound into the proof: it works said twice and fails said once', () => {
    expect(exchange((final) => final, 'y,,')).toThrow(wrong);
    expect(exchange((final) => final.replace('c=biws', 'c=eSws'))).toThrow(wrong);
  });

  test.each([
    ['another nonce', (final: string) => final.replace(/r=[^,]+/, 'r=other'), wrong],
    ['only its own nonce', (final: string) => final.replace(/r=[^,]+/, `r=${clientNonce}`), wrong],
    ['a longer nonce', (final: string) => final.replace(/,p=/, 'x,p='), wrong],
    ['another binding', (final: string) => final.replace('c=biws', `c=${Buffer.from('p=tls-unique,,').toString('base64')}`), wrong],
    ['a proof too short', (final: string) => final.replace(/p=.*/, 'p=AAAA'), wrong],
    ['a proof too long', (final: string) => final.replace(/p=.*/, `p=${'A'.repeat(64)}`), wrong],
    ['a proof of zeroes', (final: string) => final.replace(/p=.*/, `p=${Buffer.alloc(32).toString('base64')}`), wrong],
    ['no proof', (final: string) => final.replace(/,p=.*/, ''), malformed],
    ['an empty proof', (final: string) => final.replace(/p=.*/, 'p='), malformed],
    ['an extension', (final: string) => final.replace(',p=', ',e=1,p='), malformed],
    ['something behind', (final: string) => `${final},x`, malformed],
    ['a line break behind', (final: string) => `${final}\n`, malformed],
    ['nothing', () => '', malformed],
  ])('a final message with %s', (_name, change, error) => {
    expect(exchange(change)).toThrow(error);
  });

  test('the final message without the first proves nothing', () => {
    const final = `c=biws,r=x,p=${Buffer.alloc(32).toString('base64')}`;
    expect(() => serverOf('x').finish(final)).toThrow(wrong);
  });
});

describe('a server that cheats', () => {
  const own = 'fyko-d2lbbFgONRv9qkx';
  test.each([
    [`r=other,s=${salt.toString('base64')},i=4096`, 'another nonce'],
    [`r=${own},s=${salt.toString('base64')},i=4096`, 'nothing added to the nonce'],
    [`r=${own}x,s=,i=4096`, 'no salt'],
    [`r=${own}x,s=AAAA,i=0`, 'no iterations'],
    [`r=${own}x,s=AAAA,i=-1`, 'negative iterations'],
    [`r=${own}x,s=AAAA,i=${iterationsMax + 1}`, 'too many iterations'],
    [`r=${own}x,s=AAAA,i=999999999`, 'iterations for minutes'],
    [`r=${own}x,s=AAAA,i=4294967295999`, 'iterations past any number'],
    [`r=${own}x,s=AAAA,i=4096,x=1`, 'an extension'],
    [`m=ext,r=${own}x,s=AAAA,i=4096`, 'a mandatory extension'],
    ['', 'nothing'],
  ])('%j: %s', (serverFirst) => {
    expect(() => new ScramClient('x', own).answer(serverFirst)).toThrow(hostileServer);
  });

  test('the limit of iterations itself is done', () => {
    expect(new ScramClient('x', own).answer(`r=${own}x,s=AAAA,i=${iterationsMax}`)).toMatch(/^c=biws,/);
  });

  test.each(['v=', 'v=AAAA', 'e=invalid-proof', '', `v=${Buffer.alloc(32).toString('base64')}`])('a final message of %j', (serverFinal) => {
    const client = new ScramClient('x', own);
    client.answer(`r=${own}x,s=AAAA,i=4096`);
    expect(() => client.verify(serverFinal)).toThrow(hostileServer);
  });

  test('its signature before the client’s proof counts for nothing', () => {
    expect(() => new ScramClient('x', own).verify('v=')).toThrow(hostileServer);
  });
});

describe('verifiers', () => {
  test('are the ones that PostgreSQL stores', () => {
    const verifier = createVerifier('pencil', salt);
    expect(verifier).toBe(
      'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
    );
    expect(parseVerifier(verifier)).toMatchObject({ iterations: 4096, salt });
  });

  test.each([
    '',
    'md5d41d8cd98f00b204e9800998ecf8427e',
    'SCRAM-SHA-256$4095:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
    `SCRAM-SHA-256$${iterationsMax + 1}:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=`,
    'SCRAM-SHA-256$4096:AAAA$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  ])('%j is none', (verifier) => {
    expect(() => parseVerifier(verifier)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
  });
});

describe('a real server', () => {
  let postgres: Postgres;
  let admin: Client;
  beforeAll(async () => {
    postgres = await startPostgres();
    admin = new Client({ connectionString: postgres.url() });
    await admin.connect();
  });
  afterAll(async () => {
    await admin?.end();
    await postgres?.stop();
  });

  test.each([
    ['ascii', 'correct horse'],
    ['composed and decomposed', 'Å\u0301ngström ﬁ Ⅳ'],
    ['rare blanks', 'a\u00a0b\u3000c\u1680d'],
    ['what is mapped to nothing', 'so\u00adft\u200c\ufeff'],
    ['astral', 'pass🎉𝄞'],
    ['long', 'x'.repeat(500)],
  ])('takes the client half with a password of kind: %s', async (name, password) => {
    const user = `user ${name}`;
    await admin.query(`create role "${user}" login password '${password}'`);
    const address = { host: postgres.host, port: postgres.port };
    (await RawClient.logIn(address, { user, password, database: 'postgres' })).close();
    await expect(RawClient.logIn(address, { user, password: `${password}!`, database: 'postgres' })).rejects.toThrow('28P01');
  });

  test('takes a verifier that was made here', async () => {
    await admin.query(`create role verified login password '${createVerifier('made here', randomBytes(16))}'`);
    const client = new Client({ connectionString: postgres.url('postgres', 'verified', 'made here') });
    await client.connect();
    expect((await client.query('select current_user')).rows).toEqual([{ current_user: 'verified' }]);
    await client.end();
  });
});
