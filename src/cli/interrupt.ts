/** Ctrl-C during a wait that comes before something with signals of its own: heard meanwhile, and left alone afterwards. */

export type Interrupt = { readonly signal: AbortSignal; release(): void };

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Aborted with the signal's name. */
export function listenForInterrupt(): Interrupt {
  const controller = new AbortController();
  const abort = (name: NodeJS.Signals) => controller.abort(name);
  for (const name of signals) process.on(name, abort);
  return { signal: controller.signal, release: () => signals.forEach((name) => process.off(name, abort)) };
}
