/** Names that completion offers, kept from the relay's earlier answers, so that completion itself asks nobody. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writePrivateFile } from './private-file.ts';
import type { RelayClient } from './relay-client.ts';

/** What one relay has told. Nothing in it is secret, and all of it is fit to be a word of a shell. */
export type RelayNames = {
  /** The names of each target's roles. */
  readonly targets: Readonly<Record<string, readonly string[]>>;
  /** Newest first. */
  readonly sessions: readonly string[];
};

export type NameCache = {
  /** The relay that answered last. */
  readonly latest?: string;
  readonly relays: Readonly<Record<string, RelayNames>>;
};

const relaysMax = 20;
const targetsMax = 1000;
const sessionsMax = 100;
/** A larger file is none that gate wrote. */
const fileLengthMax = 1024 * 1024;
const noNames: RelayNames = { targets: {}, sessions: [] };

/** A missing or damaged cache is an empty one: completion has no one to complain to. */
export function loadNameCache(directory: string): NameCache {
  try {
    const text = readFileSync(cachePath(directory), 'utf8');
    return text.length > fileLengthMax ? { relays: {} } : checkCache(JSON.parse(text));
  } catch {
    return { relays: {} };
  }
}

/**
 * The same client, whose answers are remembered in the cache of `directory`. A cache that cannot be written takes
 * nothing from the command.
 */
export function rememberNames(client: RelayClient, directory: string): RelayClient {
  const remember = async (change: (names: RelayNames) => RelayNames): Promise<void> => {
    const cache = loadNameCache(directory);
    const names = change(cache.relays[client.url] ?? noNames);
    const relays = Object.fromEntries([[client.url, names] as const, ...Object.entries(cache.relays).filter(([url]) => url !== client.url)].slice(0, relaysMax));
    const changed: NameCache = checkCache({ latest: client.url, relays });
    if (JSON.stringify(changed) === JSON.stringify(cache)) return;
    await writePrivateFile(cachePath(directory), `${JSON.stringify(changed)}\n`).catch(() => undefined);
  };
  return {
    ...client,
    async targets() {
      const targets = await client.targets();
      await remember(({ sessions }) => ({
        targets: Object.fromEntries(targets.map(({ name, roles }) => [name, roles.map((role) => role.name)])),
        sessions,
      }));
      return targets;
    },
    async createGrant(request) {
      const grant = await client.createGrant(request);
      const { target, role } = grant;
      await remember(({ targets, sessions }) => ({
        targets: { ...targets, [target]: [...new Set([...(targets[target] ?? []), role])] },
        sessions,
      }));
      return grant;
    },
    async findSessions(query) {
      const list = await client.findSessions(query);
      // A search names few; the newest are what people go on with.
      const isSearch = Object.keys(query).some((name) => name !== 'limit');
      if (!isSearch) await remember(({ targets }) => ({ targets, sessions: list.sessions.map(({ id }) => id) }));
      return list;
    },
  };
}

function cachePath(directory: string): string {
  return join(directory, 'names.json');
}

/** Only what a shell takes as one harmless word is kept, whoever wrote the file or answered. */
function checkCache(value: unknown): NameCache {
  const { latest, relays } = asRecord(value);
  const checked = Object.entries(asRecord(relays)).flatMap(([url, names]) => {
    if (!isHarmless(url)) return [];
    const { targets, sessions } = asRecord(names);
    const entries = Object.entries(asRecord(targets)).filter(([name]) => isHarmless(name));
    return [
      [
        url,
        {
          targets: Object.fromEntries(entries.slice(0, targetsMax).map(([name, roles]) => [name, harmlessIn(roles)])),
          sessions: harmlessIn(sessions).slice(0, sessionsMax),
        },
      ] as const,
    ];
  });
  return { ...(isHarmless(latest) && { latest }), relays: Object.fromEntries(checked.slice(0, relaysMax)) };
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function harmlessIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(isHarmless) : [];
}

function isHarmless(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 300 && /^[\p{L}\p{N}_][\p{L}\p{N}_.@%+:/[\]-]*$/u.test(value);
}
