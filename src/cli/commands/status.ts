/** gate status: relay, login and my open sessions on one screen. */
import { Command } from 'commander';
import type { SessionSummary, WhoAmI } from '../../api/api.ts';
import { formatChain } from '../chain.ts';
import type { Context } from '../context.ts';
import { formatRelative, formatTable, oneLine } from '../output.ts';
import { describeOrigin } from './config.ts';

/** What one request to the relay may ask for; an open session beyond it would be older than all of these. */
const sessionsMax = 1000;

export function statusCommand(context: Context): Command {
  return new Command('status')
    .summary('the relay, my login, and my open sessions')
    .action(() => runStatus(context));
}

/** Under `--json` one line, `{relay, login, sessions}`, with `login` as of gate whoami and `sessions` as of gate sessions list. */
export async function runStatus(context: Context): Promise<void> {
  const { io } = context;
  const relay = await context.relay();
  const { settings = [] } = await context.config();
  const setting = settings.find(({ name, source }) => name === 'relay' && source !== undefined);
  // Said before anything is asked: where nobody answers, it is what the reader needs.
  if (!io.json) await io.write(line('relay', setting === undefined ? relay.url : `${relay.url} (${describeOrigin(setting)})`));
  const login = await relay.whoAmI();
  if (!io.json) {
    await io.write(line('login', describeLogin(login)));
    const behind = formatChain(login.chain ?? []).map((link, index) => `${(index === 0 ? 'chain' : '').padEnd(8)} ${link}\n`);
    await io.write(behind.join(''));
  }
  const sessions = (await relay.sessions({ limit: sessionsMax })).filter((session) => isOpenAndOf(login, session));
  if (io.json) return io.writeJson({ relay: relay.url, login, sessions });
  await io.write(line('sessions', sessions.length === 0 ? 'none open' : `${sessions.length} open`));
  if (sessions.length > 0) await io.write(`\n${formatOpenSessions(sessions, new Date())}`);
}

function line(label: string, value: string): string {
  return `${label.padEnd(8)} ${oneLine(value)}\n`;
}

function describeLogin({ name, subject, kind, issuer, groups, expiresAt }: WhoAmI): string {
  const of = groups.length === 0 ? 'no group' : groups.join(', ');
  const who = kind === 'human' ? `${name} (${subject})` : `${name} (${kind} of ${issuer})`;
  return `${who}, in ${of}; the token expires ${formatRelative(expiresAt, new Date())}`;
}

/** An auditor sees the sessions of others as well. */
function isOpenAndOf({ issuer, subject }: WhoAmI, { state, principal }: SessionSummary): boolean {
  return state === 'open' && principal.issuer === issuer && principal.subject === subject;
}

function formatOpenSessions(sessions: readonly SessionSummary[], now: Date): string {
  return formatTable(
    ['SESSION', 'TARGET', 'ROLE', 'COMMAND', 'STARTED', 'ENDS', 'STATEMENTS', 'REASON'],
    sessions.map(({ id, target, role, command, startedAt, expiresAt, statements, reason }) => [
      id,
      target,
      role,
      command,
      formatRelative(startedAt, now),
      formatRelative(expiresAt, now),
      String(statements),
      reason ?? '-',
    ]),
  );
}
