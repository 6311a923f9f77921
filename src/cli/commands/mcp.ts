/** gate mcp: a Model Context Protocol server on standard input and output, for AI agents that work for the person who is logged in. */
import { Command } from 'commander';
import type { AgentToolbox } from '../../client/mcp/tool-calls.ts';
import { version } from '../../../package.json';
import type { Context } from '../context.ts';
import { addGrantFlags, type GrantFlags } from '../grant-flags.ts';

type Flags = GrantFlags & { readonly target?: string; readonly allowWrites?: boolean };

/** At the end of the input an answer that is nearly there is still given; who waits for more has gone. */
const graceMs = 1000;

export function mcpCommand(context: Context): Command {
  const command = new Command('mcp')
    .summary('serve AI agents over MCP (stdio)')
    .description(
      'Serve the Model Context Protocol on standard input and output: an agent lists targets, describes schemas, runs statements and asks ' +
        'for approval, as itself on behalf of the person who is logged in. Statements can only read unless --allow-writes is given.',
    )
    .option('--target <name>', 'the target where a call names none');
  return addGrantFlags(command)
    .option('--allow-writes', 'ask for grants that may write; policy then decides')
    .action((flags: Flags) => runMcp(context, flags));
}

export async function runMcp(context: Context, flags: Flags): Promise<void> {
  const { io } = context;
  const [{ McpServer }, { createToolbox }, { instructionsFor }, { createRelayClient }, { requireRelay }] = await Promise.all([
    import('../../client/mcp/mcp-server.ts'),
    import('../../client/mcp/tool-calls.ts'),
    import('../../client/mcp/tools.ts'),
    import('../../client/relay-client.ts'),
    import('../../client/config.ts'),
  ]);
  const config = await context.config();
  requireRelay(config);
  const { role, reason, ticket, duration, target } = flags;
  const defaults = {
    isReadOnly: flags.allowWrites !== true,
    ...(role !== undefined && { role }),
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
    ...(duration !== undefined && { durationSeconds: duration }),
  };
  const warn = (line: string) => io.warn(line);
  let toolbox: AgentToolbox | undefined;
  const server = new McpServer({
    version,
    instructions: instructionsFor(defaults),
    open: (agent) => (toolbox = createToolbox({ relay: createRelayClient(config, { agent, warn }), agent, defaults, ...(target !== undefined && { target }) })),
    write: (line) => io.write(line),
    warn,
  });
  const signal = context.stopSignal();
  const input = process.stdin;
  signal.addEventListener('abort', () => input.destroy(), { once: true });
  if (io.isInteractive) io.say('This speaks the Model Context Protocol, for programs. End it with Ctrl-D.');
  try {
    for await (const chunk of input as AsyncIterable<Buffer>) server.take(chunk);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await server.stop(signal.aborted ? 0 : graceMs);
    await toolbox?.close();
  }
}
