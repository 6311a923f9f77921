/** Lets the commands leave behind the names that the relay told them, for completion. */
import type { Context } from './context.ts';

/** The same context; a command that never asks the relay loads and writes nothing. */
export function withNameMemory(context: Context): Context {
  let relay: ReturnType<Context['relay']> | undefined;
  const open = async () => {
    const [client, { directory }, { rememberNames }] = await Promise.all([
      context.relay(),
      context.config(),
      import('../client/name-cache.ts'),
    ]);
    return rememberNames(client, directory);
  };
  return { ...context, relay: () => (relay ??= open()) };
}
