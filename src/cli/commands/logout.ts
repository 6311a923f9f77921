/** gate logout: forgets the login on this machine and ends it at its issuer. */
import { Command } from 'commander';
import type { Context } from '../context.ts';

export function logoutCommand(context: Context): Command {
  return new Command('logout')
    .summary('end my login and forget it')
    .action(() => runLogout(context));
}

export async function runLogout(context: Context): Promise<void> {
  const { io } = context;
  const config = await context.config();
  // Without a relay there has never been a login, and none is what was asked for.
  if (config.relay === undefined) {
    if (io.json) return io.writeJson({ event: 'logout', wasLoggedIn: false, isRevoked: false });
    return io.say('You were not logged in.');
  }
  const { logout } = await import('../../client/login.ts');
  const result = await logout(config, { warn: (line) => io.warn(line) });
  if (config.token !== undefined) io.warn('GATE_TOKEN is still set and goes on being used.');
  else if (config.platform !== undefined) io.warn(`A token of this machine's platform is still used (${config.platform.source}).`);
  if (io.json) return io.writeJson({ event: 'logout', ...result });
  if (!result.wasLoggedIn) return io.say(`You were not logged in to ${result.relay}.`);
  io.say(`Logged out of ${result.relay}.`);
  if (!result.isRevoked) {
    io.say(`The login is gone from this machine, but its issuer was not made to end it: ${result.reason}.`);
    io.say('A copy of its tokens, if there is one, stays valid there until it expires.');
  }
}
