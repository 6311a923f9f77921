/** gate whoami: who the relay takes me for, until when, and where the login is kept. */
import { Command } from 'commander';
import type { LoginPlace } from '../../client/login.ts';
import { formatChain } from '../chain.ts';
import type { Context } from '../context.ts';
import { formatRelative, oneLine } from '../output.ts';

export function whoamiCommand(context: Context): Command {
  return new Command('whoami').summary('who the relay takes me for').action(() => runWhoami(context));
}

export async function runWhoami(context: Context): Promise<void> {
  const { io } = context;
  const relay = await context.relay();
  const who = await relay.whoAmI();
  const { findLoginPlace } = await import('../../client/login.ts');
  const place = await findLoginPlace(await context.config(), { warn: (line) => io.warn(line) });
  if (io.json) return io.writeJson({ ...who, relay: relay.url, ...place });
  const lines = [
    ['name', who.name],
    ['subject', who.subject],
    ['kind', who.kind],
    ['groups', who.groups.join(', ') || '-'],
    ['relay', relay.url],
    ['issuer', who.issuer],
    ['token', `expires ${formatRelative(who.expiresAt, new Date())} (${who.expiresAt})`],
    ['kept in', describePlace(place)],
  ] as const;
  const behind = formatChain(who.chain ?? []).map((line, index) => `${(index === 0 ? 'chain' : '').padEnd(8)} ${line}\n`);
  await io.write([...lines.map(([label, value]) => `${label.padEnd(8)} ${oneLine(value)}\n`), ...behind].join(''));
}

function describePlace(place: LoginPlace): string {
  if (place.storage === 'environment') return 'GATE_TOKEN';
  if (place.storage === 'platform') return `memory only; its token comes from ${place.source}`;
  if (place.storage === 'keychain') return 'the OS keychain';
  return place.storage === 'file' ? place.path : '-';
}
