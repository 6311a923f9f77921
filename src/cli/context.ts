/** What a command may reach, as lazy functions, so that `--help` opens nothing. */
import type { ClientConfig } from '../client/config.ts';
import type { RelayClient } from '../client/relay-client.ts';
import type { Io } from './io.ts';

export type GlobalFlags = { readonly json: boolean; readonly relay?: string };

export type Context = {
  readonly io: Io;
  /** Flag, environment, user file and default, in this order. */
  config(): Promise<ClientConfig>;
  /** The relay's API as the person who is logged in. Fails with `login-required` on the first call that needs it. */
  relay(): Promise<RelayClient>;
  /** Aborted with reason 'SIGINT', 'SIGTERM' or 'SIGHUP'; `onHangup` takes the last. Calling it replaces the death by signal. */
  stopSignal(onHangup?: () => void): AbortSignal;
};

export function createContext(io: Io, flags: GlobalFlags, stopSignal: Context['stopSignal']): Context {
  let config: Promise<ClientConfig> | undefined;
  let relay: Promise<RelayClient> | undefined;
  const context: Context = {
    io,
    stopSignal,
    config: () => (config ??= import('../client/config.ts').then((module) => module.loadClientConfig(flags))),
    relay: () => (relay ??= openRelay(context)),
  };
  return context;
}

async function openRelay(context: Context): Promise<RelayClient> {
  const { createRelayClient } = await import('../client/relay-client.ts');
  return createRelayClient(await context.config(), { warn: (line) => context.io.warn(line) });
}
