/** The relay's own cancel keys: random, checked, and good only for the caller's own session. */
import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto';

export type CancelTarget = { readonly session: string; cancel(): void };

export class CancelKeys {
  readonly #byPid = new Map<number, { readonly key: Buffer; readonly target: CancelTarget }>();

  /** A key for BackendKeyData: a made-up process id and secret bytes, as many as the protocol version has room for. */
  issue(target: CancelTarget, protocolMinor: number): { readonly pid: number; readonly key: Buffer } {
    let pid: number;
    do pid = randomInt(1, 0x7fffffff);
    while (this.#byPid.has(pid));
    const key = randomBytes(protocolMinor >= 2 ? 32 : 4);
    this.#byPid.set(pid, { key, target });
    return { pid, key };
  }

  revoke(pid: number): void {
    this.#byPid.delete(pid);
  }

  /** Cancels what the connection with this key runs, if the asking session owns it; a wrong key does nothing. */
  use(session: string, pid: number, key: Buffer): void {
    const entry = this.#byPid.get(pid);
    if (entry === undefined || entry.target.session !== session) return;
    if (key.length === entry.key.length && timingSafeEqual(key, entry.key)) entry.target.cancel();
  }
}
