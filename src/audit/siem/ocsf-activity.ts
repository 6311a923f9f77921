/** Which class and activity of the Open Cybersecurity Schema Framework an entry is, and what the relay decided there. */
import type { Event, EventOf } from '../entry.ts';

export type Named = { readonly id: number; readonly name: string };

const authentication = { uid: 3002, name: 'Authentication', category: 3 } as const;
const authorizeSession = { uid: 3003, name: 'Authorize Session', category: 3 } as const;
const entityManagement = { uid: 3004, name: 'Entity Management', category: 3 } as const;
const applicationLifecycle = { uid: 6002, name: 'Application Lifecycle', category: 6 } as const;
const apiActivity = { uid: 6003, name: 'API Activity', category: 6 } as const;
const datastoreActivity = { uid: 6005, name: 'Datastore Activity', category: 6 } as const;

export type OcsfClass =
  | typeof authentication
  | typeof authorizeSession
  | typeof entityManagement
  | typeof applicationLifecycle
  | typeof apiActivity
  | typeof datastoreActivity;

/** What a security control did (profile `security_control`): its disposition, and the action that this comes down to. */
export type Control = Named & { readonly action: Named };
export type OcsfActivity = { readonly class: OcsfClass; readonly activity: Named; readonly control?: Control };

const unknownAction: Named = { id: 0, name: 'Unknown' };
const allowed: Named = { id: 1, name: 'Allowed' };
const denied: Named = { id: 2, name: 'Denied' };

const control = {
  allowed: { id: 1, name: 'Allowed', action: allowed },
  blocked: { id: 2, name: 'Blocked', action: denied },
  dropped: { id: 6, name: 'Dropped', action: denied },
  approved: { id: 8, name: 'Approved', action: allowed },
  // Neither allowed nor denied yet.
  delayed: { id: 14, name: 'Delayed', action: unknownAction },
  detected: { id: 15, name: 'Detected', action: allowed },
  accessRevoked: { id: 24, name: 'Access Revoked', action: denied },
  rejected: { id: 25, name: 'Rejected', action: denied },
  unauthorized: { id: 26, name: 'Unauthorized', action: denied },
} as const satisfies Record<string, Control>;

/** An activity that the class does not list is its number 99, with a name of the source's own. */
function other(name: string): Named {
  return { id: 99, name };
}

export function activityOf(event: Event): OcsfActivity {
  switch (event.kind) {
    case 'login':
      return { class: authentication, activity: { id: 1, name: 'Logon' } };
    case 'login.deny':
      return { class: authentication, activity: { id: 1, name: 'Logon' }, control: control.unauthorized };
    case 'session.close':
      return { class: authentication, activity: { id: 2, name: 'Logoff' } };
    case 'session.kill':
      return { class: authentication, activity: { id: 2, name: 'Logoff' }, control: control.accessRevoked };
    case 'session.open':
      return { class: authorizeSession, activity: { id: 1, name: 'Assign Privileges' } };
    case 'relay.start':
      return { class: applicationLifecycle, activity: { id: 3, name: 'Start' } };
    case 'relay.stop':
      return { class: applicationLifecycle, activity: { id: 4, name: 'Stop' } };
    case 'read':
      return { class: apiActivity, activity: { id: 2, name: 'Read' } };
    case 'connection.open':
    case 'connection.close':
    case 'statement':
    case 'hold':
    case 'outcome':
    case 'result':
    case 'cancel':
    case 'masks.detected':
    case 'masks.breach':
      return { class: datastoreActivity, ...datastoreActivityOf(event) };
    case 'request':
    case 'vote':
    case 'request.end':
    case 'grant':
    case 'grant.revoke':
    case 'grant.deny':
    case 'policy':
    case 'key.rotate':
    case 'shred.request':
    case 'key.shred':
    case 'legal.hold':
      return { class: entityManagement, ...managementOf(event) };
  }
}

type DatastoreEvent = EventOf<
  'connection.open' | 'connection.close' | 'statement' | 'hold' | 'outcome' | 'result' | 'cancel' | 'masks.detected' | 'masks.breach'
>;
type Activity = Omit<OcsfActivity, 'class'>;

function datastoreActivityOf(event: DatastoreEvent): Activity {
  switch (event.kind) {
    case 'connection.open':
      return { activity: { id: 3, name: 'Connect' } };
    case 'connection.close':
      return { activity: other('Disconnect') };
    case 'statement':
      return { activity: ofKinds(event.kinds), control: event.effect === 'allow' ? control.allowed : control.blocked };
    case 'hold':
      return { activity: ofKinds(event.kinds), control: control.delayed };
    case 'outcome':
      return { activity: ofTags(event.tags) };
    case 'result':
      return { activity: { id: 1, name: 'Read' } };
    case 'cancel':
      return { activity: other('Cancel') };
    case 'masks.detected':
      return { activity: { id: 1, name: 'Read' }, control: control.detected };
    case 'masks.breach':
      return { activity: { id: 1, name: 'Read' }, control: control.dropped };
  }
}

/** Policy's kinds of statement: of several in one text, the one that goes furthest names the activity. */
function ofKinds(kinds: readonly string[]): Named {
  const kind = ['admin', 'schema', 'unknown', 'write'].find((one) => kinds.includes(one));
  if (kind === undefined) return { id: 4, name: 'Query' };
  if (kind === 'write') return { id: 5, name: 'Write' };
  return other({ admin: 'Administer', schema: 'Change Schema', unknown: 'Run' }[kind] ?? 'Run');
}

const byTag: Readonly<Record<string, Named>> = {
  SELECT: { id: 4, name: 'Query' },
  SHOW: { id: 4, name: 'Query' },
  FETCH: { id: 4, name: 'Query' },
  EXPLAIN: { id: 4, name: 'Query' },
  UPDATE: { id: 2, name: 'Update' },
  MERGE: { id: 2, name: 'Update' },
  INSERT: { id: 6, name: 'Create' },
  DELETE: { id: 7, name: 'Delete' },
  TRUNCATE: { id: 7, name: 'Delete' },
};

/** By the first words of the command tags; several different ones, or none, are no single activity. */
function ofTags(tags: readonly string[]): Named {
  const words = new Set(tags.map((tag) => tag.split(' ', 1)[0] ?? ''));
  const [word] = words;
  if (word === undefined) return { id: 0, name: 'Unknown' };
  return words.size === 1 ? (byTag[word] ?? other(word)) : other('Several');
}

type ManagementEvent = EventOf<
  'request' | 'vote' | 'request.end' | 'grant' | 'grant.revoke' | 'grant.deny' | 'policy' | 'key.rotate' | 'shred.request' | 'key.shred' | 'legal.hold'
>;

function managementOf(event: ManagementEvent): Activity {
  switch (event.kind) {
    case 'request':
    case 'grant':
      return { activity: { id: 1, name: 'Create' } };
    case 'grant.deny':
      return { activity: { id: 1, name: 'Create' }, control: control.unauthorized };
    case 'vote':
      return { activity: { id: 3, name: 'Update' }, control: event.decision === 'approve' ? control.approved : control.rejected };
    case 'request.end':
    case 'policy':
    case 'key.rotate':
      return { activity: { id: 3, name: 'Update' } };
    case 'grant.revoke':
      return { activity: { id: 4, name: 'Delete' }, control: control.accessRevoked };
    case 'key.shred':
      return { activity: { id: 4, name: 'Delete' } };
    case 'shred.request':
      return { activity: other('Request Deletion') };
    case 'legal.hold':
      return { activity: event.isSet ? { id: 8, name: 'Enable' } : { id: 9, name: 'Disable' } };
  }
}
