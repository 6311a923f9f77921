/** The catalogs of all targets, each looked at only while somebody uses it. */
import { messageOf } from '../errors/errors.ts';
import { CatalogWatch } from './catalog.ts';
import type { Target } from './config.ts';
import type { RelayLog } from './relay-log.ts';

export class Catalogs {
  readonly #watches = new Map<string, CatalogWatch>();
  readonly #log: RelayLog;

  constructor(log: RelayLog) {
    this.#log = log;
  }

  of(target: Target): CatalogWatch {
    let watch = this.#watches.get(target.name);
    if (watch === undefined) {
      watch = new CatalogWatch(target, (error) => {
        this.#log.warn({ target: target.name, reason: messageOf(error) }, 'the catalog cannot be read: names in statements stay unknown');
      });
      this.#watches.set(target.name, watch);
    }
    return watch;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watches.values()].map((watch) => watch.close()));
  }
}
