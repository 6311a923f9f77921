/** Calls of functions: the server's own that are on the list, those of extensions that only compute, and those that policy trusts. */
import type { SessionNames } from '../sql/session-names.ts';
import { quoteName } from '../sql/names.ts';
import type { Change, Tokens } from './edits.ts';
import { fixedSettings, freeSettings, shownSettings } from './lists.ts';
import type { MaskPlan } from './plan.ts';
import { askForRole, Refusal } from './refusal.ts';
import { searchOrder } from './relations.ts';
import { safeFunctions } from './safe-functions.ts';
import { constantOf, listOf, locationOf, namesOf, nodeOf, type Node } from './tree.ts';

export type Look = { readonly names: SessionNames; readonly plan: MaskPlan; readonly tokens: Tokens; readonly isStored: boolean };

/** They make values of the types that the row of their first argument has. */
const fillsRows: ReadonlySet<string> = new Set([
  'json_populate_record',
  'json_populate_recordset',
  'jsonb_populate_record',
  'jsonb_populate_record_valid',
  'jsonb_populate_recordset',
  'populate_record',
]);

/** Answers the edit that says which function is meant, where a function of the database's own could be meant as well. */
export function checkFunction(node: Node, look: Look): readonly Change[] {
  const parts = namesOf(node['funcname']);
  const at = locationOf(node);
  const [schema, name = ''] = parts.length > 1 ? parts.slice(-2) : [undefined, ...parts];
  if (parts.length > 2) throw unsafe(parts.join('.'), 'names of functions have one schema', at);
  if (fillsRows.has(name) && !isTypedNull(listOf(node['args'])[0])) throw unsafe(name, 'the type of the row is not written out as NULL::type', at);
  if (name === 'current_setting' || name === 'set_config') return checkSetting(name, schema, node, look);
  // How long it sleeps must not depend on anything: then it tells nothing.
  const isNap = name === 'pg_sleep' && listOf(node['args']).every((item) => constantOf(item) !== undefined);
  if (isNap && schema === 'pg_catalog') return [];
  if (schema === 'pg_catalog') {
    if (!safeFunctions.has(name)) throw notListed(name, at);
    return [];
  }
  const { names } = look;
  const known = names.catalog?.functionsNamed(name) ?? [];
  if (schema !== undefined) {
    if (!isTrusted(look, schema, name)) throw ownCode(`${schema}.${name}`, at);
    return [];
  }
  const order = searchOrder(names);
  const others = known.filter((one) => one.schema !== 'pg_catalog' && order.includes(one.schema));
  const untrusted = others.find((one) => !isTrusted(look, one.schema, name));
  const isBuiltIn = known.some((one) => one.schema === 'pg_catalog');
  if (isBuiltIn && !safeFunctions.has(name) && !isNap) throw notListed(name, at);
  if (untrusted === undefined) {
    if (!isBuiltIn && others.length === 0) throw notListed(name, at);
    return [];
  }
  if (!isBuiltIn) throw ownCode(`${untrusted.schema}.${name}`, at);
  return [qualify(name, node, look, at)];
}

/** NULL::type, whose type the walk looks at. A row, or a `record`, could hold types whose values run code. */
function isTypedNull(value: unknown): boolean {
  const cast = nodeOf(value, 'TypeCast');
  const names = namesOf((cast?.['typeName'] as Node | undefined)?.['names']);
  return nodeOf(cast?.['arg'], 'A_Const')?.['isnull'] === true && names.at(-1) !== 'record';
}

/** The server's own function is written out, so that no better match of a user's can be taken for it. */
function qualify(name: string, node: Node, { tokens }: Look, at: number | undefined): Change {
  if (at === undefined || node['funcformat'] !== 'COERCE_EXPLICIT_CALL') throw ownCode(name, at);
  const { start, end, text } = tokens.list[tokens.indexAt(at)] ?? { start: 0, end: 0, text: '' };
  if (text.toLowerCase() !== name && text !== quoteName(name)) throw ownCode(name, at);
  return { start, end, text: `pg_catalog.${quoteName(name)}` };
}

/** Whether all functions of this name are known to compute from their arguments only. */
export function isTrusted({ names, plan }: Pick<Look, 'names' | 'plan'>, schema: string, name: string): boolean {
  const known = names.catalog?.functionsNamed(name).filter((one) => one.schema === schema) ?? [];
  return known.length > 0 && (plan.trusts.has(`${schema}.${name}`) || names.catalog?.data.details?.pureFunctions.includes(`${schema}.${name}`) === true);
}

/** Whether x.name could call something that is not safe: then it must be proven to be a column. */
export function isUnsafeAsField(name: string, look: Pick<Look, 'names' | 'plan'>): boolean {
  const known = look.names.catalog?.functionsNamed(name) ?? [];
  return known.some((one) => (one.isUnary === true || one.takesRow === true) && (one.schema === 'pg_catalog' ? !safeFunctions.has(name) : !isTrusted(look, one.schema, name)));
}

function checkSetting(name: string, schema: string | undefined, node: Node, look: Look): readonly Change[] {
  const at = locationOf(node);
  const [setting, value] = listOf(node['args']).map(constantOf);
  if (schema !== undefined && schema !== 'pg_catalog') throw ownCode(`${schema}.${name}`, at);
  if (setting === undefined) throw new Refusal('setting', `${name} of a name that is not written out could show or change anything`, 'Write the name of the setting as a constant.', at);
  if (name === 'current_setting') {
    if (look.isStored ? isRelays(setting) : !isShown(setting)) throw hiddenSetting(setting, at);
  } else checkSet(setting, value, look.names, at);
  const others = look.names.catalog?.functionsNamed(name).some((one) => one.schema !== 'pg_catalog' && searchOrder(look.names).includes(one.schema));
  return schema === undefined && others === true ? [qualify(name, node, look, at)] : [];
}

function isRelays(setting: string): boolean {
  return setting.toLowerCase().startsWith('gate.');
}

/** Settings with a dot are the session's own, and the relay's. */
export function isShown(setting: string): boolean {
  const name = setting.toLowerCase();
  return shownSettings.has(name) || (name.includes('.') && !isRelays(name));
}

export function hiddenSetting(setting: string, at: number | undefined): Refusal {
  return new Refusal('setting', `the setting ${setting} is not shown to principals with masks`, 'Settings that describe the session and the server can be shown.', at);
}

/** `value` undefined: the default. Fails for what would change more than how results look. */
export function checkSet(setting: string, value: string | undefined, names: SessionNames, at: number | undefined, isDefault = false): void {
  const name = setting.toLowerCase();
  if (isDefault && (freeSettings.has(name) || fixedSettings.has(name) || name === 'search_path')) return;
  if (freeSettings.has(name) && value !== undefined) return;
  if (value !== undefined && fixedSettings.get(name)?.has(value.toLowerCase()) === true) return;
  if (name === 'search_path' && value !== undefined && isPinned(value, names)) return;
  throw new Refusal('setting', `${setting} cannot be set to that with masks`, name === 'search_path' ? 'Write schemas before names, or set search_path when connecting.' : 'Leave it as it is.', at);
}

function isPinned(value: string, { path = [] }: SessionNames): boolean {
  const asked = value.split(',').map((part) => part.trim().replace(/^"(.*)"$/, '$1'));
  return asked.length === path.length && asked.every((schema, index) => schema === path[index]);
}

function notListed(name: string, at: number | undefined): Refusal {
  return new Refusal('function', `the function ${name} is not known to compute from its arguments only`, askForRole, at);
}

function ownCode(name: string, at: number | undefined): Refusal {
  return new Refusal('function', `the function ${name} is code of the database's own, which could read anything`, 'Write the query itself, or have the policy trust the function (masks.trust).', at);
}

function unsafe(name: string, reason: string, at: number | undefined): Refusal {
  return new Refusal('function', `the function ${name} is not known: ${reason}`, askForRole, at);
}
