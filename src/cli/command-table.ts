/** The commands of gate as the list of `gate --help` shows them; the file of one is loaded when it is named. */
import { Command } from 'commander';
import type { Context } from './context.ts';

export type CommandEntry = {
  readonly name: string;
  /** Its flags and arguments as the list shows them, which the command itself would say as well. */
  readonly usage?: string;
  readonly summary: string;
  load(): Promise<(context: Context) => Command>;
};

export const commandTable: readonly CommandEntry[] = [
  {
    name: 'login',
    summary: 'log in to a relay, by a code that is confirmed in a browser',
    load: async () => (await import('./commands/login.ts')).loginCommand,
  },
  { name: 'logout', summary: 'end my login and forget it', load: async () => (await import('./commands/logout.ts')).logoutCommand },
  { name: 'whoami', summary: 'who the relay takes me for', load: async () => (await import('./commands/whoami.ts')).whoamiCommand },
  {
    name: 'status',
    summary: 'the relay, my login, and my open sessions',
    load: async () => (await import('./commands/status.ts')).statusCommand,
  },
  {
    name: 'targets',
    summary: 'list what I may reach, and as what',
    load: async () => (await import('./commands/targets.ts')).targetsCommand,
  },
  {
    name: 'connect',
    usage: '[options] <target...>',
    summary: 'open a local port to a target',
    load: async () => (await import('./commands/connect.ts')).connectCommand,
  },
  {
    name: 'exec',
    usage: '[options] <target> [-]',
    summary: 'run SQL on a target',
    load: async () => (await import('./commands/exec.ts')).execCommand,
  },
  {
    name: 'mcp',
    usage: '[options]',
    summary: 'serve AI agents over MCP (stdio)',
    load: async () => (await import('./commands/mcp.ts')).mcpCommand,
  },
  {
    name: 'requests',
    summary: 'ask for access, and see who asks for what',
    load: async () => (await import('./commands/requests.ts')).requestsCommand,
  },
  {
    name: 'approve',
    usage: '[options] <request>',
    summary: 'approve a request of somebody else',
    load: async () => (await import('./commands/approve.ts')).approveCommand,
  },
  {
    name: 'deny',
    usage: '[options] <request>',
    summary: 'turn down a request of somebody else',
    load: async () => (await import('./commands/deny.ts')).denyCommand,
  },
  { name: 'grants', summary: 'list and revoke grants', load: async () => (await import('./commands/grants.ts')).grantsCommand },
  {
    name: 'sessions',
    summary: 'find, show, replay, follow and end sessions',
    load: async () => (await import('./commands/sessions.ts')).sessionsCommand,
  },
  {
    name: 'audit',
    summary: 'read, export, verify and erase the record',
    load: async () => (await import('./commands/audit.ts')).auditCommand,
  },
  {
    name: 'inventory',
    usage: '[options]',
    summary: 'everybody and everything with access, and what they use of it',
    load: async () => (await import('./commands/inventory.ts')).inventoryCommand,
  },
  {
    name: 'evidence',
    usage: '[options]',
    summary: 'collect evidence for an audit',
    load: async () => (await import('./commands/evidence.ts')).evidenceCommand,
  },
  {
    name: 'policy',
    summary: 'check, explain, test and replay the policy file',
    load: async () => (await import('./commands/policy.ts')).policyCommand,
  },
  {
    name: 'doctor',
    usage: '[options] [target]',
    summary: 'check the way from here to the relay, and to a target',
    load: async () => (await import('./commands/doctor.ts')).doctorCommand,
  },
  { name: 'config', summary: 'the settings in force', load: async () => (await import('./commands/config.ts')).configCommand },
  {
    name: 'completion',
    usage: '[options] <shell> [words...]',
    summary: 'print a script that completes commands, flags and names in a shell',
    load: async () => (await import('./commands/completion.ts')).completionCommand,
  },
];

/** What stands in the list for a command that is not named. It is never run: who is named is loaded. */
export function placeholderOf({ name, usage = '', summary }: CommandEntry): Command {
  const placeholder = new Command(name).summary(summary).action(() => {
    throw new Error(`gate ${name} was not loaded`);
  });
  const [, options, argument] = /^(\[options\])? ?(.*)$/.exec(usage) ?? [];
  if (options !== undefined) placeholder.option('--of-the-command');
  return argument ? placeholder.arguments(argument) : placeholder;
}

/**
 * The commands that a command line may be about: each that is one of its words, and for completion each that is
 * written anywhere in the line, which shells hand over in one word.
 */
export function isNamed({ name }: CommandEntry, argv: readonly string[]): boolean {
  if (argv.includes(name)) return true;
  return argv.includes('completion') && argv.some((word) => word.split(/[^a-z]+/).includes(name));
}
