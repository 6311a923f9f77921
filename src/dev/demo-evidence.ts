/** The act of the demo in which the record is taken away, checked by somebody who was not there, and forged in vain. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Play } from './play.ts';

export async function actEvidence({ stage, gate }: Play, session: string): Promise<void> {
  await stage.act(
    'A sceptic checks it offline',
    'Every entry is a leaf of one Merkle tree, as in the logs of certificates. Oana takes the record and the public key to a ' +
      'machine that knows nothing of the relay. Texts and parameters are sealed in it; what can be proven does not need them.',
  );
  const directory = await mkdtemp(join(tmpdir(), 'gate-demo-record-'));
  try {
    const bundle = join(directory, 'bundle');
    const key = await stage.run(gate('operator', 'audit', 'key'));
    const trusted = join(directory, 'log-key.pub');
    await writeFile(trusted, key.stdout);
    await stage.run(gate('operator', 'audit', 'receipt', session, '--output', join(directory, 'receipt.json')));
    await stage.run(gate('operator', 'audit', 'export', '--output', bundle));
    const check = () => gate('operator', 'audit', 'verify', bundle, '--key', `@${trusted}`, '--receipt', join(directory, 'receipt.json'));
    const intact = await stage.run(check());
    await stage.check('nothing was changed, and the receipt of the session is part of it', /^intact$/m.test(intact.stdout));
    await stage.say('Now somebody who has the files changes one word of one entry: an approval becomes a denial.');
    await forge(bundle);
    const forged = await stage.run(check(), 1);
    await stage.check('the entry is named, and the exit code says tampered', forged.stdout.includes('TAMPERED') && /entry \d+/i.test(forged.stdout));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Finds the vote in the bundles of entries, and turns it round. */
async function forge(bundle: string): Promise<void> {
  const entries = join(bundle, 'tile/entries');
  for (const name of await readdir(entries, { recursive: true })) {
    const file = join(entries, name);
    const bytes = await readFile(file).catch(() => undefined);
    const at = bytes?.indexOf('"decision":"approve"') ?? -1;
    if (bytes === undefined || at === -1) continue;
    await writeFile(file, Buffer.concat([bytes.subarray(0, at), Buffer.from('"decision":"deny"   '), bytes.subarray(at + 20)]));
    return;
  }
}
