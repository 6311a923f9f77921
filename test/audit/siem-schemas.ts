/** Holds exported lines against facts of the published schemas (schemas/*.json); each check lists what is wrong. */
import { isIP } from 'node:net';
import cef from './schemas/cef-0.json' with { type: 'json' };
import ecs from './schemas/ecs-8.json' with { type: 'json' };
import gcp from './schemas/gcp-log-entry.json' with { type: 'json' };
import ocsf from './schemas/ocsf-1.5.0.json' with { type: 'json' };

type Json = Readonly<Record<string, unknown>>;
type OcsfObject = { readonly attributes: readonly string[]; readonly required?: readonly string[]; readonly atLeastOne?: readonly string[]; readonly typeIds?: readonly number[] };
type OcsfClass = OcsfObject & { readonly name: string; readonly category: number; readonly activities: Readonly<Record<string, string | null>> };

const ocsfClasses: Readonly<Record<string, OcsfClass>> = ocsf.classes;
const ocsfObjects: Readonly<Record<string, OcsfObject>> = ocsf.objects;
const objectOf: Readonly<Record<string, string>> = ocsf.objectOf;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function checkOcsf(line: string): string[] {
  const event = JSON.parse(line) as Json;
  const known = ocsfClasses[String(event['class_uid'])];
  if (known === undefined) return [`no class ${String(event['class_uid'])}`];
  const problems: string[] = [];
  const profiles = (event['metadata'] as { profiles?: string[] }).profiles ?? [];
  const profileAttributes = profiles.flatMap((name) => ocsf.profiles[name as 'security_control'] ?? [`no profile ${name}`]);
  const attributes = [...ocsf.baseAttributes, ...known.attributes, ...profileAttributes];
  problems.push(...checkAttributes('', event, { ...known, attributes, required: [...ocsf.baseRequired, ...(known.required ?? [])] }));
  if (event['category_uid'] !== known.category) problems.push('category_uid is not that of the class');
  if (event['class_name'] !== known.name) problems.push('class_name is not that of the class');
  if (event['type_uid'] !== Number(event['class_uid']) * 100 + Number(event['activity_id'])) problems.push('type_uid is not of class and activity');
  problems.push(...checkSibling(event, 'activity_id', 'activity_name', known.activities));
  problems.push(...checkSibling(event, 'category_uid', 'category_name', ocsf.categories));
  for (const [id, { caption, values }] of Object.entries(ocsf.siblings)) if (event[id] !== undefined) problems.push(...checkSibling(event, id, caption, values));
  for (const name of ocsf.integers) if (event[name] !== undefined && !Number.isSafeInteger(event[name])) problems.push(`${name} is no integer`);
  if (event['metadata'] === undefined || (event['metadata'] as Json)['version'] !== '1.5.0') problems.push('metadata.version');
  return problems;
}

/** Its number is known, and where the schema names it the name is that one. */
function checkSibling(event: Json, id: string, caption: string, values: Readonly<Record<string, string | null>>): string[] {
  const name = values[String(event[id])];
  if (name === undefined) return [`${id} ${String(event[id])} is unknown`];
  if (name === null) return typeof event[caption] === 'string' ? [] : [`${caption} is missing`];
  return event[caption] === name ? [] : [`${caption} is not ${name}`];
}

function checkAttributes(path: string, value: Json, schema: OcsfObject): string[] {
  const problems = (schema.required ?? []).filter((name) => value[name] === undefined).map((name) => `${path}${name} is missing`);
  if (schema.atLeastOne && schema.atLeastOne.every((name) => value[name] === undefined)) problems.push(`${path} has none of ${schema.atLeastOne.join()}`);
  if (schema.typeIds && value['type_id'] !== undefined && !schema.typeIds.includes(value['type_id'] as number)) problems.push(`${path}type_id is unknown`);
  for (const [name, inner] of Object.entries(value)) {
    if (!schema.attributes.includes(name)) problems.push(`${path}${name} is unknown`);
    if (name === 'unmapped') continue;
    for (const one of Array.isArray(inner) ? inner : [inner]) {
      const object = ocsfObjects[objectOf[name] ?? ''];
      if (isObject(one)) problems.push(...(object === undefined ? [`${path}${name} is no object of these`] : checkAttributes(`${path}${name}.`, one, object)));
      else if (object !== undefined) problems.push(`${path}${name} is no object`);
    }
  }
  return problems;
}

const ecsFields: Readonly<Record<string, string>> = ecs.fields;
const typesByCategory: Readonly<Record<string, readonly string[]>> = ecs.typesByCategory;

export function checkEcs(line: string): string[] {
  const document = JSON.parse(line) as Json;
  const flat = flatten('', document);
  const problems = ecs.required.filter((name) => !flat.has(name)).map((name) => `${name} is missing`);
  for (const [name, value] of flat) if (!name.startsWith(`${ecs.custom}.`) && !isOfEcsType(ecsFields[name], value)) problems.push(`${name} is no ${ecsFields[name] ?? 'field'}`);
  const { kind, category, type, outcome } = document['event'] as { kind: string; category: string[]; type: string[]; outcome: string };
  if (!ecs.kinds.includes(kind)) problems.push(`event.kind ${kind}`);
  if (!ecs.outcomes.includes(outcome)) problems.push(`event.outcome ${outcome}`);
  problems.push(...category.filter((one) => typesByCategory[one] === undefined));
  const expected = new Set(category.flatMap((one) => typesByCategory[one] ?? []));
  problems.push(...type.filter((one) => !expected.has(one)).map((one) => `event.type ${one} is not expected in ${category.join()}`));
  return problems;
}

function flatten(path: string, value: Json): Map<string, unknown> {
  return new Map(Object.entries(value).flatMap(([name, inner]) => (isObject(inner) ? [...flatten(`${path}${name}.`, inner)] : [[`${path}${name}`, inner] as const])));
}

function isOfEcsType(type: string | undefined, value: unknown): boolean {
  if (Array.isArray(value)) return (type === 'keywords' || type === 'ips') && value.every((one) => isOfEcsType(type.slice(0, -1), one));
  if (type === 'long') return Number.isSafeInteger(value);
  if (typeof value !== 'string') return false;
  if (type === 'ip') return isIP(value) !== 0;
  return type === 'date' ? !Number.isNaN(Date.parse(value)) : type === 'keyword' || type === 'text';
}

const gcpFields: Readonly<Record<string, string>> = gcp.fields;

export function checkGcp(line: string): string[] {
  const entry = JSON.parse(line) as Json;
  const problems = Object.entries(entry).filter(([name, value]) => typeof value !== gcpFields[name]).map(([name]) => `${name} is unknown or no ${gcpFields[name] ?? 'field'}`);
  for (const name of ['insertId', 'timestamp', 'severity', 'jsonPayload', 'labels']) if (entry[name] === undefined) problems.push(`${name} is missing`);
  if (!gcp.severities.includes(String(entry['severity']))) problems.push('severity is unknown');
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/.test(String(entry['timestamp']))) problems.push('timestamp is not RFC 3339 in UTC');
  for (const [name, value] of Object.entries(entry['labels'] as Json)) if (typeof value !== 'string') problems.push(`label ${name} is no text`);
  for (const name of Object.keys(entry['operation'] ?? {})) if (!gcp.operation.includes(name)) problems.push(`operation.${name} is unknown`);
  return problems;
}

/** Reads a line by the rules of the format, as a collector would: header fields and values unescaped. */
export function parseCef(line: string): { header: string[]; extension: Map<string, string> } {
  const fields = [...line.matchAll(/((?:\\[\\|]|[^\\|])*)\|/gy)].slice(0, cef.headerFields - 1);
  const rest = line.slice(fields.reduce((length, [whole]) => length + whole.length, 0));
  const pairs = [...rest.matchAll(/(?:^| )(\w+)=((?:\\[\\=nr]|[^\\=])*?)(?= \w+=|$)/gy)];
  if (pairs.reduce((length, [whole]) => length + whole.length, 0) !== rest.length) throw new Error(`not all of this is pairs: ${rest}`);
  const unescape = (text: string) => text.replace(/\\(.)/g, (_whole, one: string) => ({ n: '\n', r: '\r' })[one] ?? one);
  return { header: fields.map(([, field = '']) => unescape(field)), extension: new Map(pairs.map(([, key = '', value = '']) => [key, unescape(value)])) };
}

const cefLengths: Readonly<Record<string, number>> = cef.lengths;

export function checkCef(line: string): string[] {
  const { header, extension } = parseCef(line);
  const problems: string[] = [];
  if (header.length !== cef.headerFields - 1 || header[0] !== 'CEF:0') problems.push('the header');
  if (!/^\d+$/.test(header[6] ?? '') || Number(header[6]) > cef.severityMax) problems.push('the severity');
  for (const [key, value] of extension) {
    const length = cefLengths[key];
    if (length === undefined) problems.push(`${key} is unknown`);
    else if (value.length > length) problems.push(`${key} is too long`);
    if (value === '' || (/^(?:cs|cn|c6a|flexString)\d$/.test(key) && !extension.has(`${key}Label`))) problems.push(`${key} is empty or has no label`);
  }
  if (!/^\d{13}$/.test(extension.get('rt') ?? '')) problems.push('rt is no moment in milliseconds');
  if (extension.has('src') && isIP(extension.get('src') ?? '') !== 4) problems.push('src is no IPv4 address');
  return problems;
}
