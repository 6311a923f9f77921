/** What a file of settings may hold. Apart from config.ts, so that YAML and schemas are loaded only where there is such a file. */
import * as z from 'zod/mini';
import { parseYaml } from '../yaml/yaml-file.ts';

export type UserFile = { readonly relay?: string; readonly keychain?: 'on' | 'off' };

/** A project file holds `relay` alone. */
export function parseSettings(text: string, path: string, scope: 'user' | 'project'): UserFile {
  const relayOnly = { relay: z.optional(z.string({ error: 'a URL is expected, as in https://gate.example.com' })) };
  const keychain = z.optional(z.enum(['on', 'off'], { error: '"on" or "off" is expected' }));
  const error = ({ code }: { code: string | undefined }) =>
    code === 'invalid_type' ? 'settings are expected, as in relay: https://…' : undefined;
  const read: { relay?: string | undefined; keychain?: 'on' | 'off' | undefined } =
    scope === 'user'
      ? parseYaml(text, path, z.strictObject({ ...relayOnly, keychain }, { error }))
      : parseYaml(text, path, z.strictObject(relayOnly, { error }));
  return {
    ...(read.relay !== undefined && { relay: read.relay }),
    ...(read.keychain !== undefined && { keychain: read.keychain }),
  };
}
