/** The directories of the relay: a SCIM service that is asked now and then, or the newest token of each person. */
import type { Directory, DirectoryEntry } from '../grant/directory.ts';
import type { PrincipalStore } from '../grant/request-store.ts';
import { messageOf } from '../errors/errors.ts';
import { findScimPerson } from '../oidc/scim.ts';
import type { DirectoryConfig } from './directory-config.ts';
import type { RelayLog } from './relay-log.ts';

/** People whose entries are kept. */
const keptMax = 10_000;
/** After it could not be reached, it is not asked again for so long: nobody else waits for the same silence. */
const silenceMs = 5000;

/** What the relay itself has seen: it says what groups somebody had, and never that they have left. */
export class TokenDirectory implements Directory {
  readonly knowsEverybody = false;
  readonly #people: PrincipalStore;
  readonly #issuer: string;

  constructor(people: PrincipalStore, issuer: string) {
    this.#people = people;
    this.#issuer = issuer;
  }

  async lookUp(subject: string): Promise<DirectoryEntry | undefined | 'unreachable'> {
    try {
      const newest = await this.#people.newest({ issuer: this.#issuer, subject });
      return newest && { isActive: true, groups: newest.groups, at: new Date() };
    } catch {
      return 'unreachable';
    }
  }
}

export class ScimDirectory implements Directory {
  readonly knowsEverybody = true;
  readonly #config: DirectoryConfig;
  readonly #log: RelayLog;
  readonly #kept = new Map<string, { readonly until: number; readonly entry: DirectoryEntry | undefined }>();
  readonly #asked = new Map<string, Promise<DirectoryEntry | undefined | 'unreachable'>>();
  #silentUntil = 0;
  #problem: string | undefined;

  constructor(config: DirectoryConfig, log: RelayLog) {
    this.#config = config;
    this.#log = log;
  }

  /** Why it did not answer when it was last asked. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** An answer counts for the configured interval, one that did not come for none. */
  lookUp(subject: string): Promise<DirectoryEntry | undefined | 'unreachable'> {
    const kept = this.#kept.get(subject);
    if (kept !== undefined && performance.now() < kept.until) return Promise.resolve(kept.entry);
    const running = this.#asked.get(subject);
    if (running !== undefined) return running;
    if (performance.now() < this.#silentUntil) return Promise.resolve('unreachable');
    const asking = this.#ask(subject).finally(() => this.#asked.delete(subject));
    this.#asked.set(subject, asking);
    return asking;
  }

  async #ask(subject: string): Promise<DirectoryEntry | undefined | 'unreachable'> {
    try {
      const found = await findScimPerson(this.#config, subject);
      const entry = found && { ...found, at: new Date() };
      if (this.#kept.size >= keptMax) this.#kept.clear();
      this.#kept.set(subject, { until: performance.now() + this.#config.everySeconds * 1000, entry });
      if (this.#problem !== undefined) this.#log.info({ directory: this.#config.url }, 'the directory answers again');
      this.#problem = undefined;
      return entry;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#problem) this.#log.error({ directory: this.#config.url, reason }, 'the directory gives no clear answer');
      this.#problem = reason;
      this.#silentUntil = performance.now() + Math.min(silenceMs, this.#config.everySeconds * 1000);
      return 'unreachable';
    }
  }
}
