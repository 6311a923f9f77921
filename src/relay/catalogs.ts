/** The catalogs of all targets, each looked at only while somebody uses it. */
import { messageOf } from '../errors/errors.ts';
import { CatalogWatch } from './catalog.ts';
import type { Target } from './config.ts';
import type { RelayLog } from './relay-log.ts';

export class Catalogs {
  readonly #watches = new Map<string, CatalogWatch>();
  readonly #log: RelayLog;
  readonly #onRefresh: ((target: string) => void) | undefined;

  /** `onRefresh`: definitions were changed through this process. */
  constructor(log: RelayLog, onRefresh?: (target: string) => void) {
    this.#log = log;
    this.#onRefresh = onRefresh;
  }

  of(target: Target): CatalogWatch {
    let watch = this.#watches.get(target.name);
    if (watch === undefined) {
      watch = new CatalogWatch(target, (error) => {
        this.#log.warn({ target: target.name, reason: messageOf(error) }, 'the catalog cannot be read: names in statements stay unknown');
      }, () => this.#onRefresh?.(target.name));
      this.#watches.set(target.name, watch);
    }
    return watch;
  }

  /** Definitions were changed through another process. */
  noteChange(target: string): void {
    this.#watches.get(target)?.noteChange();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watches.values()].map((watch) => watch.close()));
  }
}
