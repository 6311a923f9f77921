/** Which settings a SET, RESET or set_config changes, and to what. */
import { constantText } from './constant.ts';
import type { SettingChange } from './outline.ts';

type Node = { readonly [field: string]: unknown };

/** Settings whose SET takes a list of names, which the server quotes one by one. */
const nameLists = new Set(['search_path', 'local_preload_libraries', 'session_preload_libraries', 'shared_preload_libraries', 'temp_tablespaces', 'unix_socket_directories']);

/** Of VariableSetStmt. SET TRANSACTION and SET SESSION CHARACTERISTICS change up to three. */
export function changesOfSet(node: Node): SettingChange[] {
  const isLocal = node['is_local'] === true;
  const name = String(node['name'] ?? '').toLowerCase();
  const args = (node['args'] ?? []) as readonly Node[];
  switch (node['kind']) {
    case 'VAR_RESET_ALL':
      return [{ name: 'all', isReset: true, isLocal }];
    case 'VAR_RESET':
    case 'VAR_SET_DEFAULT':
      return [{ name, isReset: true, isLocal }];
    case 'VAR_SET_MULTI': {
      const prefix = name === 'session characteristics' ? 'default_' : '';
      return args.flatMap(({ DefElem }) => {
        const { defname, arg } = (DefElem ?? {}) as { readonly defname?: string; readonly arg?: Node };
        // SET TRANSACTION SNAPSHOT takes a string instead.
        return defname === undefined ? [] : [change(`${prefix}${defname}`, modeText(defname, arg), prefix === '')];
      });
    }
    default:
      return [change(name, valueOf(name, args), isLocal)];
  }
}

function modeText(defname: string, arg: Node | undefined): string | undefined {
  const text = constantText(arg);
  return defname === 'transaction_isolation' ? text : text === '1' ? 'on' : 'off';
}

/** As the server would show it: a list is joined, and the names in lists of names are quoted. */
function valueOf(name: string, args: readonly Node[]): string | undefined {
  const values = args.map((arg) => constantText(arg));
  if (values.length === 0 || values.includes(undefined)) return undefined;
  return nameLists.has(name) ? values.map((value) => quoteName(value as string)).join(', ') : values.join(', ');
}

function quoteName(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** Of a call of set_config(setting_name, new_value, is_local), whose arguments may be named. */
export function changeOfSetConfig(args: readonly Node[]): SettingChange {
  const [name, value, isLocal] = ['setting_name', 'new_value', 'is_local'].map((parameter, index) => {
    const named = args.find((arg) => (arg['NamedArgExpr'] as Node | undefined)?.['name'] === parameter);
    return constantText(named === undefined ? args[index] : (named['NamedArgExpr'] as Node)['arg']);
  });
  return change(name?.toLowerCase() ?? '?', value, isLocal === 'true');
}

function change(name: string, value: string | undefined, isLocal: boolean): SettingChange {
  return { name, ...(value !== undefined && { value }), isReset: false, isLocal };
}
