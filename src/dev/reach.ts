/** Which user a server may run as, and which directories that user can reach. */
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';

export type Identity = { readonly uid: number; readonly gid: number };

/** `nobody`: PostgreSQL refuses to run as root. */
const NOBODY: Identity = { uid: 65534, gid: 65534 };

/** The identity to change to; undefined when the one we have will do. */
export function unprivilegedIdentity(): Identity | undefined {
  return process.getuid?.() === 0 ? NOBODY : undefined;
}

/** The ancestor of `path` (nearest to the root first) that `identity` may not pass through, if there is one. */
export async function findClosedAncestor(path: string, identity: Identity): Promise<string | undefined> {
  const parent = dirname(path);
  if (parent === path) return undefined;
  return (await findClosedAncestor(parent, identity)) ?? ((await canEnter(parent, identity)) ? undefined : parent);
}

async function canEnter(directory: string, identity: Identity): Promise<boolean> {
  const { mode, uid, gid } = await stat(directory);
  if (uid === identity.uid) return (mode & 0o100) !== 0;
  if (gid === identity.gid) return (mode & 0o010) !== 0;
  return (mode & 0o001) !== 0;
}

/** A directory for temporary files that `identity` can reach; the system's own one unless that is closed to it. */
export async function findTemporaryRoot(identity: Identity | undefined): Promise<string> {
  const candidates = [tmpdir(), '/tmp', '/var/tmp'];
  if (identity === undefined) return tmpdir();
  for (const candidate of candidates) {
    try {
      if ((await findClosedAncestor(`${candidate}/x`, identity)) === undefined) return candidate;
    } catch {
      // A candidate that does not exist is no candidate.
    }
  }
  return tmpdir();
}
