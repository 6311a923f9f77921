/** The attributes that each class of the Open Cybersecurity Schema Framework adds to the base event, and their objects. */
import type { Event } from '../entry.ts';
import type { Who } from './context.ts';
import type { Facts } from './facts.ts';
import type { OcsfClass } from './ocsf-activity.ts';

/** Stands where the schema requires a name that the entry and its context do not give. */
const unknownName = 'unknown';

export function attributesOf(classUid: OcsfClass['uid'], facts: Facts, event: Event, relayVersion: string | undefined): object {
  const actor = actorOf(facts);
  const service = { name: 'gate relay', ...(relayVersion !== undefined && { version: relayVersion }) };
  switch (classUid) {
    case 3002:
      return {
        user: userOf(facts.affected ?? facts.actor),
        actor,
        service,
        ...((event.kind === 'login' || event.kind === 'login.deny') && { auth_protocol_id: 4, auth_protocol: 'OpenID', is_remote: true }),
        ...(facts.session !== undefined && { session: { uid: facts.session } }),
      };
    case 3003:
      return { user: userOf(facts.actor), actor, privileges: [`${facts.role ?? unknownName} on ${facts.target ?? unknownName}`], session: sessionOf(facts, event) };
    case 3004:
      return {
        ...(facts.actor && { actor }),
        entity: entityOf(event, facts),
        ...(facts.reason !== undefined && { comment: facts.reason }),
      };
    case 6002:
      return { app: { ...service, vendor_name: 'gate' } };
    case 6003:
      return {
        actor,
        api: { operation: event.kind === 'read' ? `read ${event.what}` : event.kind, service },
        src_endpoint: endpointOf(facts),
        ...(facts.session !== undefined && { resources: [{ type: 'session', uid: facts.session }] }),
      };
    case 6005:
      return datastoreOf(facts, actor);
  }
}

function datastoreOf(facts: Facts, actor: object): object {
  const { target = unknownName, shape, details } = facts;
  const bytes = details['bytesOut'];
  const { connection, statement } = details;
  const uid = statement === undefined ? undefined : `${String(facts.session)}/${String(connection)}/${String(statement)}`;
  return {
    actor,
    src_endpoint: endpointOf(facts),
    dst_endpoint: { name: target, svc_name: 'postgresql' },
    type_id: 1,
    type: 'Database',
    database: { name: target, type_id: 1, type: 'Relational' },
    // A query needs its text, which only the statement itself and a hold bring.
    ...(shape !== undefined && { query_info: { query_string: shape, ...(uid !== undefined && { uid }), ...(typeof bytes === 'number' && { bytes }) } }),
  };
}

function actorOf({ actor, session, isInSession }: Facts): object {
  const within = isInSession && { session: { uid: session } };
  // The schema wants at least one of these; where it is neither, the relay did it.
  return actor || within ? { ...(actor && { user: userOf(actor) }), ...within } : { app_name: 'gate relay' };
}

const userTypes = { human: [1, 'User'], workload: [99, 'Workload'], agent: [99, 'Agent'] } as const;

function userOf(who: Who | undefined): object {
  if (who === undefined) return { name: unknownName, type_id: 0, type: 'Unknown' };
  const [typeId, type] = userTypes[who.kind];
  return { name: who.name, uid: who.subject, domain: who.issuer, type_id: typeId, type, groups: who.groups.map((name) => ({ name })) };
}

function sessionOf({ session, timeMs }: Facts, event: Event): object {
  return {
    uid: session,
    created_time: timeMs,
    is_remote: true,
    ...(event.kind === 'session.open' && { expiration_time: Date.parse(event.expiresAt), issuer: event.who.issuer }),
  };
}

function endpointOf({ source }: Facts): object {
  if (source?.ip === undefined) return { name: source?.address ?? unknownName };
  return { ip: source.ip, ...(source.port !== undefined && { port: source.port }) };
}

/** What is managed: the access that people ask for, decide on and hold, and the relay's policy and keys. */
function entityOf(event: Event, { grant, request, session }: Facts): object {
  if (event.kind === 'grant' || event.kind === 'grant.revoke') return { type: 'Grant', uid: grant };
  if (event.kind === 'grant.deny') return { type: 'Grant', name: `${event.role ?? 'any role'} on ${event.target}` };
  if (event.kind === 'policy') return { type: 'Policy', uid: event.policy };
  if (event.kind === 'key.rotate') return { type: 'Signing Key', uid: event.to };
  if (event.kind === 'shred.request' || event.kind === 'key.shred') return { type: 'Data Keys', uid: session };
  if (event.kind === 'legal.hold') return { type: 'Legal Hold', uid: session };
  return { type: 'Access Request', uid: request };
}
