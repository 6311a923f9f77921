/** gate login: shows a code to confirm in a browser, waits, and says who one is then. */
import { Command } from 'commander';
import type { LoginPrompt, LoginResult } from '../../client/login.ts';
import type { Context } from '../context.ts';
import { formatRelative, oneLine } from '../output.ts';

export function loginCommand(context: Context): Command {
  return new Command('login')
    .summary('log in to a relay, by a code that is confirmed in a browser')
    .description(
      'Logs in to the relay and makes it the default. Shows an address and a code; open the address in any browser, on ' +
        'any machine, and confirm the code there. An earlier login on the same relay ends.',
    )
    .action(() => runLogin(context));
}

export async function runLogin(context: Context): Promise<void> {
  const { io } = context;
  const { login } = await import('../../client/login.ts');
  const result = await login(await context.config(), {
    signal: context.stopSignal(),
    warn: (line) => io.warn(line),
    onPrompt: (prompt) => showPrompt(context, prompt),
  });
  return showLogin(context, result);
}

async function showPrompt(context: Context, prompt: LoginPrompt): Promise<void> {
  const { io } = context;
  if (io.json) return io.writeJson({ event: 'prompt', ...prompt });
  io.say(`To log in to ${prompt.relay}, open this page of ${prompt.issuer} in a browser:`);
  io.say('');
  io.say(`    ${prompt.verificationUri}`);
  io.say('');
  io.say('and confirm that it shows this code:');
  io.say('');
  io.say(`    ${prompt.userCode}`);
  io.say('');
  if (prompt.verificationUriComplete !== undefined) {
    io.say(`With the code filled in: ${prompt.verificationUriComplete}`);
  }
  io.say('Go on only if you started this login yourself, just now: whoever confirms the code logs this machine in.');
  io.say(`Waiting for you; the code expires ${formatRelative(prompt.expiresAt, new Date())}. Ctrl-C gives up.`);
}

async function showLogin(context: Context, result: LoginResult): Promise<void> {
  const { io } = context;
  if (io.json) return io.writeJson({ event: 'login', ...result });
  const groups = result.groups.length === 0 ? 'no group' : result.groups.map(oneLine).join(', ');
  const renewal = result.isRenewable ? 'and renews itself' : 'and then asks you to log in again';
  const place = result.storage === 'keychain' ? 'the OS keychain' : 'a file that only you can read';
  io.say('');
  io.say(`Logged in as ${oneLine(result.name)} (${oneLine(result.subject)}), in ${groups}.`);
  io.say(`The token expires ${formatRelative(result.expiresAt, new Date())} ${renewal}; it is kept in ${place}.`);
  io.say('Next: gate targets');
}
