import { isIP } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { AuditEntry, Event } from '../../src/audit/entry.ts';
import { escapeHeader, escapeValue, formatCef } from '../../src/audit/siem/cef.ts';
import { connectionsMax, SessionContexts, sessionsMax, severities, severityOf, type SiemRecord } from '../../src/audit/siem/context.ts';
import { formatterOf, siemFormats, type SiemFormat } from '../../src/audit/siem/format.ts';
import { parseSource } from '../../src/audit/siem/source.ts';
import { checkCef, checkEcs, checkGcp, checkOcsf, parseCef } from './siem-schemas.ts';
import { allRecords, canary, eventsByKind, leavesOf, relay } from './siem-entries.ts';

const records = allRecords();
/** The same, as an exporter sees them that began in the middle of the log. */
const bareRecords: SiemRecord[] = leavesOf(Object.values(eventsByKind).flat());

function linesOf(format: SiemFormat, of: readonly SiemRecord[] = records): string[] {
  return of.map(formatterOf(format));
}

const checks: { readonly [F in SiemFormat]: (line: string) => string[] } = {
  ndjson: () => [],
  ocsf: checkOcsf,
  ecs: checkEcs,
  gcp: checkGcp,
  cef: checkCef,
};

describe.each(siemFormats)('%s', (format) => {
  test('is what it was', async () => {
    const name = format === 'cef' ? 'cef.txt' : `${format}.ndjson`;
    const golden = join(import.meta.dirname, 'golden', 'siem', name);
    await expect(`${linesOf(format).join('\n')}\n`).toMatchFileSnapshot(golden);
  });

  test('is one line per entry, whatever a client typed', () => {
    for (const line of linesOf(format)) expect(line).not.toMatch(/[\r\n]/);
  });

  test('holds nothing that the entry seals', () => {
    expect(JSON.stringify(records).split(canary)).toHaveLength(14);
    for (const line of [...linesOf(format), ...linesOf(format, bareRecords)]) {
      expect(line).not.toContain(canary);
      expect(line).not.toMatch(/"(?:sql|parameters|sent)":/);
    }
  });

  test.each(records.map((record) => [record.entry.event.kind, record.index, record] as const))('keeps to the schema: %s %i', (_kind, _index, record) => {
    expect(checks[format](formatterOf(format)(record))).toEqual([]);
  });

  test('keeps to the schema without a context, too', () => {
    for (const line of linesOf(format, bareRecords)) expect(checks[format](line)).toEqual([]);
  });
});

describe('the person behind a machine', () => {
  const of = (kind: string, index = 0) => records.filter(({ entry: { event } }) => event.kind === kind && 'who' in event && event.who.kind === 'workload')[index] as SiemRecord;
  const [verified, claimed] = [of('login'), of('grant.deny')];
  const read = (format: SiemFormat, record: SiemRecord) => JSON.parse(formatterOf(format)(record));
  const erin = { name: 'Erin Engineer', id: 'u-17' };

  test('OCSF: what is claimed has a name of its own, and the whole chain is there', () => {
    expect(read('ocsf', verified)).toMatchObject({ actor: { user: { uid: 'repo:shop/app', type: 'Workload' } }, unmapped: { human: erin, chain: [{}, {}, {}, { strength: 'verified' }] } });
    expect(read('ocsf', verified).unmapped.claimed_human).toBeUndefined();
    expect(read('ocsf', claimed)).toMatchObject({ unmapped: { claimed_human: erin, chain: [{}, {}, { strength: 'claimed' }, { strength: 'claimed' }] } });
    expect(read('ocsf', claimed).unmapped.human).toBeUndefined();
  });

  test('ECS: only who is verified is a related user, and the links are kept apart', () => {
    expect(read('ecs', verified)).toMatchObject({ labels: { human: erin.name }, related: { user: expect.arrayContaining([erin.name, erin.id]) } });
    expect(read('ecs', claimed).labels).toEqual({ claimed_human: erin.name });
    expect(read('ecs', claimed).related.user).not.toContain(erin.name);
    const { chain } = read('ecs', verified).gate.user;
    expect(chain.verified).toHaveLength(3);
    expect(chain.claimed).toEqual([expect.stringMatching(/^author: Mallory/)]);
  });

  test('LogEntry: labels to search for, the chain in the payload', () => {
    expect(read('gcp', verified)).toMatchObject({ labels: { human: erin.name }, jsonPayload: { actor: { chain: [{}, {}, {}, { strength: 'verified' }] } } });
    expect(read('gcp', claimed).labels).toMatchObject({ claimed_human: erin.name });
    expect(read('gcp', claimed).labels.human).toBeUndefined();
  });

  test('CEF: under a label that says it, and no link looks like two', () => {
    expect(parseCef(formatCef(verified)).extension.get('flexString1Label')).toBe('human behind');
    const { extension } = parseCef(formatCef(claimed));
    expect(extension.get('flexString1Label')).toBe('claimed human behind');
    expect(extension.get('flexString2')?.split('; ').map((link) => link.replace(/:.*/, ''))).toEqual([
      'workload, verified by token', 'run, verified by token', 'author, claimed by client', 'human, claimed by client',
    ]);
    expect(extension.get('msg')).toContain('(for Erin Engineer?)');
  });
});

describe('the ids of entries', () => {
  const idsOf: readonly (readonly [SiemFormat, (line: string) => unknown])[] = [
    ['ocsf', (line) => JSON.parse(line).metadata.uid],
    ['ecs', (line) => JSON.parse(line).event.id],
    ['gcp', (line) => JSON.parse(line).insertId],
    ['cef', (line) => parseCef(line).extension.get('externalId')],
  ];

  test.each(idsOf)('of %s are unique, the same at each export and others in another log', (format, idOf) => {
    const ids = linesOf(format).map(idOf);
    expect(new Set(ids).size).toBe(records.length);
    expect(linesOf(format).map(idOf)).toEqual(ids);
    const elsewhere = linesOf(format, records.map((record) => ({ ...record, relay: 'gate.example.com/test' }))).map(idOf);
    expect(new Set([...ids, ...elsewhere]).size).toBe(2 * records.length);
  });
});

describe('what a statement is exported with', () => {
  const statement = records.find(({ entry }) => entry.event.kind === 'statement') as SiemRecord;

  test('OCSF: who, from where, on what, which query and what was decided', () => {
    expect(JSON.parse(formatterOf('ocsf')(statement))).toMatchObject({
      class_uid: 6005,
      type_uid: 600504,
      actor: { user: { name: 'Erin Engineer', uid: 'u-17' }, session: { uid: 'se_7f3a' } },
      src_endpoint: { ip: '10.1.2.3', port: 50412 },
      database: { name: 'prod-db' },
      query_info: { query_string: 'select * from orders where id = $1 and note = ?' },
      disposition: 'Allowed',
      unmapped: { rule: 'role reader', tables: ['shop.orders'], masked: [{ column: 'shop.orders.email' }] },
    });
  });

  test('ECS: the same', () => {
    expect(JSON.parse(formatterOf('ecs')(statement))).toMatchObject({
      event: { action: 'statement-allow', category: ['database', 'network'], type: ['access', 'allowed'] },
      user: { id: 'u-17', roles: ['reader'] },
      source: { ip: '10.1.2.3', port: 50412 },
      rule: { name: 'role reader' },
      gate: { target: 'prod-db', shape: 'select * from orders where id = $1 and note = ?' },
    });
  });

  test('the reason of a refusal is sealed, so none is told', () => {
    const denied = records.find(({ entry }) => entry.event.kind === 'statement' && entry.event.effect === 'deny') as SiemRecord;
    expect(JSON.parse(formatterOf('ocsf')(denied))).toMatchObject({ status: 'Failure', disposition: 'Blocked' });
    expect(JSON.parse(formatterOf('ocsf')(denied)).status_detail).toBeUndefined();
  });

  test('a failure brings its SQLSTATE', () => {
    const failed = records.find(({ entry }) => entry.event.kind === 'outcome' && entry.event.state === 'error') as SiemRecord;
    expect(JSON.parse(formatterOf('ocsf')(failed))).toMatchObject({ status_id: 2, status_code: '42P01' });
    expect(JSON.parse(formatterOf('ecs')(failed))).toMatchObject({ event: { outcome: 'failure', duration: 1_260_000 }, error: { code: '42P01' } });
    expect(parseCef(formatCef(failed)).extension.get('reason')).toBe('42P01');
  });
});

test('whoever reads, ends or shreds a session does not do it within that session, nor in its role', () => {
  for (const record of records.filter(({ entry }) => ['read', 'session.kill', 'key.shred', 'legal.hold'].includes(entry.event.kind))) {
    expect(JSON.parse(formatterOf('ocsf')(record)).actor?.session).toBeUndefined();
    expect(JSON.parse(formatterOf('ecs')(record)).user?.roles).toBeUndefined();
    expect(JSON.parse(formatterOf('gcp')(record)).operation).toBeUndefined();
  }
});

test('ndjson is the entry as it stands in the record, with its place', () => {
  const record = records.find(({ entry }) => entry.event.kind === 'grant') as SiemRecord;
  expect(JSON.parse(formatterOf('ndjson')(record))).toEqual({ index: record.index, origin: relay, ...record.entry });
});

describe('SessionContexts', () => {
  const [open] = eventsByKind['session.open'];
  const entryOf = (session: string, event: Event): AuditEntry => ({ v: 1, session, seq: 1, prev: '', time: '2026-11-02T10:00:00.000Z', event });
  const close = { kind: 'session.close', reason: 'done' } as const;
  const cancel = (connection: number) => ({ kind: 'cancel', connection, forwarded: true }) as const;
  const connect = (connection: number) => ({ kind: 'connection.open', connection, clientAddress: `10.0.0.1:${5000 + connection}` }) as const;
  const contextsOf = () => {
    const contexts = new SessionContexts();
    return { contexts, take: (session: string, event: Event) => contexts.take({ index: 0, relay, entry: entryOf(session, event) }) };
  };

  test('remembers a session until it closes, and tells it for the closing entry', () => {
    const { contexts, take } = contextsOf();
    expect(take('se_1', open as Event).context).toMatchObject({ target: 'prod-db', role: 'reader', grant: 'gr_01' });
    expect(take('se_2', cancel(1)).context).toBeUndefined();
    expect(take('se_1', close).context).toMatchObject({ who: { subject: 'u-17' } });
    expect(take('se_1', cancel(1)).context).toBeUndefined();
    expect(contexts.size).toBe(0);
  });

  test('remembers the address of a connection until it closes', () => {
    const { take } = contextsOf();
    take('se_1', open as Event);
    take('se_1', connect(1));
    expect(take('se_1', cancel(1)).context?.clientAddress).toBe('10.0.0.1:5001');
    expect(take('se_1', cancel(2)).context?.clientAddress).toBeUndefined();
    expect(take('se_1', { kind: 'connection.close', connection: 1, reason: '', bytesIn: 0, bytesOut: 0 }).context?.clientAddress).toBe('10.0.0.1:5001');
    expect(take('se_1', cancel(1)).context?.clientAddress).toBeUndefined();
  });

  test('forgets the oldest session past its limit, and not before', () => {
    const { contexts, take } = contextsOf();
    for (let number = 1; number <= sessionsMax; number++) take(`se_${number}`, open as Event);
    expect(take('se_1', cancel(1)).context).toBeDefined();
    take('se_more', open as Event);
    expect(contexts.size).toBe(sessionsMax);
    expect(take('se_1', cancel(1)).context).toBeUndefined();
    expect(take('se_2', cancel(1)).context).toBeDefined();
  });

  test('forgets the oldest address of a session past its limit, and not before', () => {
    const { take } = contextsOf();
    take('se_1', open as Event);
    for (let number = 1; number <= connectionsMax; number++) take('se_1', connect(number));
    expect(take('se_1', cancel(1)).context?.clientAddress).toBeDefined();
    take('se_1', connect(connectionsMax + 1));
    expect(take('se_1', cancel(1)).context?.clientAddress).toBeUndefined();
    expect(take('se_1', cancel(2)).context?.clientAddress).toBeDefined();
  });

  test('knows the version of the relay that is running', () => {
    const { take } = contextsOf();
    expect(take('decisions', { kind: 'relay.stop' }).relayVersion).toBeUndefined();
    take('decisions', { kind: 'relay.start', relayVersion: '2.0.0', after: 'stop' });
    expect(take('decisions', { kind: 'relay.stop' }).relayVersion).toBe('2.0.0');
  });
});

test('every severity is given to some event', () => {
  expect(new Set(records.map(({ entry }) => severityOf(entry.event)))).toEqual(new Set(severities));
});

test.each([
  ['127.0.0.1:5432', { ip: '127.0.0.1', port: 5432 }],
  ['127.0.0.1', { ip: '127.0.0.1' }],
  ['::ffff:10.0.0.7:50412', { ip: '10.0.0.7', port: 50412 }],
  ['::1:50412', { ip: '::1', port: 50412 }],
  ['::1', { ip: '::1' }],
  ['[2001:db8::7]:443', { ip: '2001:db8::7', port: 443 }],
  ['fe80::1%eth0:6000', { ip: 'fe80::1', port: 6000 }],
  ['2001:db8:0:0:0:0:0:1', { ip: '2001:db8:0:0:0:0:0:1' }],
  ['127.0.0.1:65536', { ip: '127.0.0.1' }],
  ['256.0.0.1:80', {}],
  ['undefined:undefined', {}],
  ['db.example.com:5432', {}],
  ['', {}],
])('parseSource(%j)', (address, expected) => {
  const source = parseSource(address);
  expect(source).toEqual({ address, ...expected });
  if (source.ip !== undefined) expect(isIP(source.ip)).not.toBe(0);
});

describe('CEF', () => {
  test.each([
    ['a|b\\c=d', 'a\\|b\\\\c=d'],
    ['two\nlines', 'two\\\\nlines'],
  ])('the header %j is written %j', (text, written) => {
    expect(escapeHeader(text)).toBe(written);
  });

  test.each([
    ['a|b\\c=d', 'a|b\\\\c\\=d'],
    ['two\nlines\r\nmore', 'two\\nlines\\r\\nmore'],
    ['\\n', '\\\\n'],
    ['\u001b[2J\u202e', '\\\\x1b[2J\\\\u{202e}'],
  ])('the value %j is written %j', (text, written) => {
    expect(escapeValue(text)).toBe(written);
  });

  test('what a client typed cannot make a key or end the header', () => {
    const record = records.find(({ entry }) => entry.event.kind === 'request') as SiemRecord;
    const reason = 'x suser=root|\\ outcome=success\nCEF:0|a|b\\';
    const changed = { ...record, entry: { ...record.entry, event: { ...record.entry.event, reason } as Event } };
    const { header, extension } = parseCef(formatCef({ ...changed, relayVersion: '1|2\\' }));
    expect(header).toEqual(['CEF:0', 'gate', 'gate relay', '1|2\\', 'request', 'Request', '1']);
    expect(extension.get('reason')).toBe(reason);
    expect(extension.get('suser')).toBe('Erin Engineer');
  });

  test('a value is cut at the length that the format gives its key, and not before', () => {
    const record = records.find(({ entry }) => entry.event.kind === 'session.kill') as SiemRecord;
    const reasonOf = (reason: string) =>
      parseCef(formatCef({ ...record, entry: { ...record.entry, event: { ...record.entry.event, reason } as Event } })).extension.get('reason');
    expect(reasonOf('x'.repeat(1023))).toBe('x'.repeat(1023));
    expect(reasonOf('x'.repeat(1024))).toBe(`${'x'.repeat(1022)}…`);
    expect(reasonOf(`${'x'.repeat(1021)}😀y`)).toBe(`${'x'.repeat(1021)}…`);
  });
});

describe('the checks notice', () => {
  const [statement] = records.filter(({ entry }) => entry.event.kind === 'statement') as [SiemRecord];
  const changed = (format: SiemFormat, change: object) => JSON.stringify({ ...JSON.parse(formatterOf(format)(statement)), ...change });

  test.each([
    ['a missing attribute', { src_endpoint: undefined }, 'src_endpoint is missing'],
    ['an unknown one', { table_name: 'x' }, 'table_name is unknown'],
    ['an unknown one of an object', { database: { name: 'x', type_id: 1, host: 'y' } }, 'database.host is unknown'],
    ['an unknown number', { disposition_id: 77 }, 'disposition_id 77 is unknown'],
    ['another name for a number', { status: 'Fine' }, 'status is not Unknown'],
    ['none of several', { database: undefined }, 'has none of database,databucket,table'],
    ['another type', { type_uid: 600501 }, 'type_uid is not of class and activity'],
  ])('in OCSF %s', (_what, change, problem) => {
    expect(checkOcsf(changed('ocsf', change))).toContainEqual(expect.stringContaining(problem));
  });

  test('in ECS a field of no name, a type that its category does not have and a wrong address', () => {
    expect(checkEcs(changed('ecs', { tables: ['x'] }))).toEqual(['tables is no field']);
    expect(checkEcs(changed('ecs', { source: { ip: 'here' } }))).toEqual(['source.ip is no ip']);
    expect(checkEcs(changed('ecs', { event: { kind: 'event', category: ['database'], type: ['denied'], outcome: 'failure' } }))).toHaveLength(1);
  });

  test('in LogEntry a field of no name and a severity of no name', () => {
    expect(checkGcp(changed('gcp', { severity: 'HIGH', log: 'x' }))).toHaveLength(2);
  });

  test('in CEF a key of no name and a label that is missing', () => {
    expect(checkCef(`${formatCef(statement)} query=x`)).toEqual(['query is unknown']);
    expect(checkCef(formatCef(statement).replace(' cs1Label=rule', ''))).toHaveLength(1);
  });
});
