/**
 * gate requests wait: until a request is approved. Exits with 5 when it is not going to be, with 8 when the time is up.
 * Under `--json` the events of `cli/approval.ts` go to stderr, and the request to stdout.
 */
import { Command } from 'commander';
import type { Context } from '../../context.ts';
import { readDuration } from '../../grant-flags.ts';

export function waitCommand(context: Context): Command {
  return new Command('wait')
    .summary('wait until a request is approved')
    .argument('<request>', 'its id, or as much of the beginning as no other request shares')
    .option('--timeout <time>', 'wait so long at most: 90s, 30m, 8h', readDuration)
    .action((id: string, { timeout }: { timeout?: number }) => runRequestsWait(context, id, timeout));
}

export async function runRequestsWait(context: Context, id: string, timeout: number | undefined): Promise<void> {
  const { io } = context;
  const relay = await context.relay();
  const request = await relay.request(id);
  // What has run on its approval was approved.
  if (request.state !== 'approved' && request.state !== 'used') {
    const { waitForGrant } = await import('../../approval.ts');
    await waitForGrant(io, relay, request.id, {
      wait: timeout,
      isOwn: false,
      interrupt: () => ({ signal: context.stopSignal(), release: () => undefined }),
      event: (value) => io.event(value),
    });
  }
  if (io.json) return io.writeJson(await relay.request(request.id));
  if (request.kind === 'statement') io.say(request.state === 'used' ? 'It has run already.' : 'Run the same statement again: it goes through once.');
  if (request.kind === 'grant') io.say(`Go on with: gate connect ${request.target} --request ${request.id}`);
}
