/** Entries as events of the Open Cybersecurity Schema Framework, version 1.5.0: the base event, around what each class adds. */
import { severities, severityOf, type SiemRecord } from './context.ts';
import { factsOf } from './facts.ts';
import { activityOf } from './ocsf-activity.ts';
import { attributesOf } from './ocsf-objects.ts';

const schemaVersion = '1.5.0';
const categoryNames = { 3: 'Identity & Access Management', 6: 'Application Activity' } as const;
const severityNames = { info: 'Informational', low: 'Low', medium: 'Medium', high: 'High', critical: 'Critical' } as const;
const statuses = { success: [1, 'Success'], failure: [2, 'Failure'], unknown: [0, 'Unknown'] } as const;

export function formatOcsf(record: SiemRecord): string {
  const { index, relay, relayVersion, entry } = record;
  const facts = factsOf(record);
  const { class: { uid: classUid, name: className, category }, activity, control } = activityOf(entry.event);
  const severity = severityOf(entry.event);
  const [statusId, status] = statuses[facts.outcome];
  const { rule, role, grant, request, ticket, purpose, details, actor, human, claimedHuman } = facts;
  return JSON.stringify({
    activity_id: activity.id,
    activity_name: activity.name,
    category_uid: category,
    category_name: categoryNames[category],
    class_uid: classUid,
    class_name: className,
    type_uid: classUid * 100 + activity.id,
    type_name: `${className}: ${activity.name}`,
    time: facts.timeMs,
    severity_id: severities.indexOf(severity) + 1,
    severity: severityNames[severity],
    status_id: statusId,
    status,
    ...(facts.sqlstate !== undefined && { status_code: facts.sqlstate }),
    ...(facts.reason !== undefined && { status_detail: facts.reason }),
    message: facts.message,
    ...(facts.durationMs !== undefined && { duration: Math.round(facts.durationMs) }),
    metadata: {
      version: schemaVersion,
      product: { name: 'gate relay', vendor_name: 'gate', ...(relayVersion !== undefined && { version: relayVersion }) },
      uid: facts.uid,
      sequence: index,
      event_code: facts.kind,
      log_name: 'audit',
      log_provider: relay,
      ...(facts.session !== undefined && { correlation_uid: facts.session }),
      ...(control && { profiles: ['security_control'] }),
    },
    ...attributesOf(classUid, facts, entry.event, relayVersion),
    ...(control && { action_id: control.action.id, action: control.action.name, disposition_id: control.id, disposition: control.name }),
    unmapped: { rule, role, grant, request, ticket, purpose, seq: entry.seq, prev: entry.prev, ...details, human, claimed_human: claimedHuman, chain: actor?.chain },
  });
}
