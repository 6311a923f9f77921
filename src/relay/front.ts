/** The port of the relay: served in this process alone, or by workers that share it and pass requests on to this one. */
import { getRequestListener } from '@hono/node-server';
import { GateError } from '../errors/errors.ts';
import type { Hono } from 'hono';
import { agentOf } from './agents.ts';
import type { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import type { RelayLog } from './relay-log.ts';
import { socketsMax, startServer, type RelayServer } from './server.ts';
import type { Sessions } from './sessions.ts';
import type { WorkersOptions } from './workers.ts';

export type FrontOptions = Omit<WorkersOptions, 'count' | 'socketsMax'> & {
  readonly config: RelayConfig;
  readonly app: Hono;
  readonly sessions: Sessions;
  readonly callers: Callers;
  readonly log: RelayLog;
  readonly isStopping: () => boolean;
  /** 1: everything in this process. */
  readonly workers: number;
};

export async function openFront(options: FrontOptions): Promise<RelayServer> {
  const { app, callers, sessions, config, log, isStopping, workers: count } = options;
  const listener = getRequestListener(app.fetch);
  const shared: Pick<Parameters<typeof startServer>[0], 'answer' | 'log' | 'isStopping'> = { answer: (request, response) => void listener(request, response), log, isStopping };
  if (count === 1) {
    return startServer({
      ...shared,
      listen: config.listen,
      ...(config.tls && { tls: config.tls }),
      openTunnel: async ({ authorization, agent }, id) => {
        const { principal } = await callers.authenticate(authorization, agentOf(agent));
        return sessions.forTunnel(principal, id);
      },
    });
  }
  const { Workers } = await import('./workers.ts');
  const directory = await Workers.makeDirectory();
  const openTunnel = async () => {
    throw new GateError('not-found', 'tunnels are served by workers');
  };
  const api = await startServer({ ...shared, listen: { path: Workers.apiSocket(directory) }, openTunnel });
  try {
    const workers = await Workers.start({ ...options, count, socketsMax }, directory);
    return {
      port: workers.port,
      close: async () => {
        await workers.close();
        await api.close();
      },
    };
  } catch (error) {
    await api.close();
    throw error;
  }
}
