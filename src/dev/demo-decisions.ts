/** The acts of the demo in which people decide: a statement that is held, and access that has to be asked for. */
import type { Play, Tunnel } from './play.ts';

export async function actApproval({ stage, gate }: Play, { client, connect }: Tunnel): Promise<void> {
  await stage.act(
    'A second pair of eyes, while the session waits',
    'Reading is free, and so is changing one row. What may change many rows is held: the statement waits inside the session ' +
      'until somebody else has seen exactly this text. Erin forgets a WHERE; Dario, of the group dba, finds her request.',
  );
  await stage.run(gate('dba', 'dev', 'login', 'dba'));
  const notices: string[] = [];
  client.on('notice', ({ message, hint }) => notices.push(`NOTICE: ${message}\nHINT: ${hint}`));
  let before = '';
  const hold = async (sql: string) => {
    notices.length = 0;
    await stage.showCommand(`client.query(${JSON.stringify(sql)})`);
    const outcome = client.query(sql).then(
      ({ rowCount }) => `UPDATE ${rowCount}`,
      ({ code, message, detail }: { code?: string; message: string; detail?: string }) => `ERROR ${code}: ${message}\n${detail}`,
    );
    // gate connect says it as well, for programs that show no notices.
    const [, id = ''] = await connect.waitFor(new RegExp(`\\(request (?!${before || '-'}\\b)(r_\\w+)\\)`));
    before = id;
    await stage.show(notices.join('\n'));
    return { outcome, id };
  };
  const first = await hold(`update orders set status = 'shipped'`);
  await stage.run(gate('dba', 'requests', 'show', first.id));
  await stage.run(gate('dba', 'deny', first.id, '--reason', 'this has no WHERE'));
  const denied = await first.outcome;
  await stage.show(denied);
  await stage.check('nothing has run, and the error says who said no and why', denied.includes('42501') && denied.includes('this has no WHERE'));
  await stage.say('The second try is meant for one customer. The text cannot prove how many rows that is, so Dario looks again, and agrees.');
  const second = await hold(`update orders set status = 'cancelled' where customer_id = 7`);
  await stage.run(gate('dba', 'approve', second.id));
  const approved = await second.outcome;
  await stage.show(approved);
  await stage.check('exactly what Dario saw has run', /^UPDATE [1-9]/.test(approved));
}

export async function actAccessRequest({ stage, gate }: Play): Promise<void> {
  await stage.act(
    'Some access has to be asked for',
    'Changing the schema needs the role admin, and a DBA who agrees to it. A script does not hang on that: it gets exit code ' +
      '8 and the number of its request. Nobody approves a request of their own.',
  );
  const reason = ['--reason', 'OPS-4712: mark loyal customers'];
  const run = ['exec', 'prod-db', '--role', 'admin', ...reason, '--sql', 'alter table customers add column loyal boolean'];
  const asked = await stage.run(gate('engineer', ...run), 8);
  const id = /gate approve (r_\w+)/.exec(asked.stderr)?.[1] ?? '';
  const own = await stage.run(gate('engineer', 'approve', id), 3);
  await stage.check('Erin cannot approve her own request', own.exitCode === 3);
  await stage.run(gate('dba', 'approve', id, '--reason', 'fine, it is nullable'));
  const done = await stage.run(gate('engineer', ...run, '--request', id));
  await stage.check('with the approval the same command runs', done.exitCode === 0);
}
