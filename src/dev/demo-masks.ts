/** The act of the demo about columns that some see only masked, whatever they ask. */
import type { Play, Tunnel } from './play.ts';

export async function actMasks({ stage, gate }: Play, { client }: Tunnel): Promise<void> {
  await stage.act(
    'Masked means masked',
    "Erin's group sees card numbers by their last four digits, and no e-mail addresses. The relay does not look for them in the " +
      'result: it replaces the table in the statement, so the database itself computes on masked values, whatever the question.',
  );
  const ask = async (sql: string) => {
    await stage.showCommand(`client.query(${JSON.stringify(sql)})`);
    const shown = await client.query(sql).then(
      ({ rows }) => JSON.stringify(rows),
      ({ code, message, detail, hint }: { code?: string; message: string; detail?: string; hint?: string }) => `ERROR ${code}: ${message}\n${detail}\nHINT: ${hint}`,
    );
    await stage.show(shown);
    return shown;
  };
  const plain = await ask('select name, email, card_number from customers where id = 7');
  await stage.check('the card is shown by its end, the address not at all', /\*\d{4}"/.test(plain) && !plain.includes('@'));
  const turned = await ask('select reverse(card_number) as turned, to_jsonb(c) ->> \'email\' as address from customers c where id = 7');
  await stage.check('no expression gets around it', /"\d{4}\*/.test(turned) && !turned.includes('@'));
  const guessed = await ask("select count(*)::int as found from customers where card_number like '4%'");
  await stage.check('nor does a guess in a WHERE: there are only masked cards to find', guessed === '[{"found":0}]');
  const statistics = await ask("select most_common_vals from pg_stats where tablename = 'customers'");
  await stage.check('what would show raw values by another way is refused, by name', statistics.includes('42501') && statistics.includes('pg_stats'));
  const added = await ask('select loyal from customers where id = 7');
  await stage.check('the column that was added a moment ago is hidden until the policy says what it is', added.includes('42501') && added.includes('loyal'));
  await stage.say('Dario, of the group dba, is exempt until a day that the policy names. He gives a reason, as everybody does.');
  const sql = 'select name, card_number from customers where id = 7';
  const raw = await stage.run(gate('dba', 'exec', 'prod-db', '--role', 'dba', '--reason', 'OPS-4711: compare with the bank', '--sql', sql));
  await stage.check('he sees the number itself', /\d{13,}|\d{4}[ -]\d{4}/.test(raw.stdout));
}
