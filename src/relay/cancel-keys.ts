/** The relay's own cancel keys: random, checked, and good only for the caller's own session. */
import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto';

export type CancelTarget = { readonly session: string; cancel(): void };

export class CancelKeys {
  readonly #bySessionAndPid = new Map<string, { readonly key: Buffer; readonly target: CancelTarget }>();

  /**
   * A key for BackendKeyData: secret bytes, as many as the protocol version has room for, and the server's own process
   * id, by which clients tell their own notifications from those of others. Servers behind one address may share an id.
   */
  issue(target: CancelTarget, backendPid: number, protocolMinor: number): { readonly pid: number; readonly key: Buffer } {
    let pid = backendPid;
    while (pid === 0 || this.#bySessionAndPid.has(`${target.session} ${pid}`)) pid = randomInt(1, 0x7fffffff);
    const key = randomBytes(protocolMinor >= 2 ? 32 : 4);
    this.#bySessionAndPid.set(`${target.session} ${pid}`, { key, target });
    return { pid, key };
  }

  revoke(session: string, pid: number): void {
    this.#bySessionAndPid.delete(`${session} ${pid}`);
  }

  /** Cancels what the connection with this key runs, if the asking session owns it; a wrong key does nothing. */
  use(session: string, pid: number, key: Buffer): void {
    const entry = this.#bySessionAndPid.get(`${session} ${pid}`);
    if (entry === undefined) return;
    if (key.length === entry.key.length && timingSafeEqual(key, entry.key)) entry.target.cancel();
  }
}
