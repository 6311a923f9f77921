/** Settings (GUCs) that change how text is read, who is acting, whether the session may write, or what the server logs. */
import type { StatementKind } from './kind.ts';

/** Settings under which the server reads text as the relay's parser does; they may be set to these values only. */
export const pinnedSettings: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF8'],
  ['standard_conforming_strings', 'on'],
]);

/** Whether two spellings of a pinned setting mean the same: utf-8 is UTF8, true is on. */
export function isSameSetting(value: string, pinned: string): boolean {
  const spelled = value.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  if (pinned === 'on') return ['on', 'true', 'yes', '1'].includes(spelled);
  return spelled === pinned.toLowerCase() || spelled === 'unicode';
}

const acting = new Set(['role', 'session_authorization']);

/** Settings by which a session could leave read-only mode. */
const liftsReadOnly = new Set(['transaction_read_only', 'default_transaction_read_only']);

/**
 * Settings that PostgreSQL 15 to 18 keep to superusers (pg_settings.context), with those of extensions that log or
 * guard: they decide what the server writes down, loads, skips or tolerates.
 */
const guarded = new RegExp(
  `^(?:${[
    'allow_in_place_tablespaces|allow_system_table_mods|backtrace_functions|commit_delay|compute_query_id|deadlock_timeout',
    'debug_discard_caches|dynamic_library_path|event_triggers|extension_control_path|ignore_checksum_failure',
    'ignore_invalid_pages|ignore_system_indexes|jit_\\w+_support|jit_dump_bitcode|lo_compat_privileges|log_\\w+',
    'max_stack_depth|post_auth_delay|session_preload_libraries|local_preload_libraries|session_replication_role',
    'temp_file_limit|trace_\\w+|track_\\w+|update_process_title|wal_\\w+|zero_damaged_pages',
    '(?:pgaudit|auto_explain|pg_stat_statements|set_user|pg_hint_plan|anon|pgsodium|supautils|sepgsql|pgcrypto|plpgsql|pltclu?|plperl)\\..*',
  ].join('|')})$`,
);

/**
 * The kind of a change of one setting; undefined for one that only concerns the session itself. `value` is undefined
 * when the text does not tell it: for DEFAULT, RESET, NULL and anything computed.
 */
export function settingKind(name: string, value: string | undefined): StatementKind | undefined {
  const lower = name.toLowerCase();
  if (acting.has(lower) || guarded.test(lower)) return 'admin';
  if (liftsReadOnly.has(lower) && !(value !== undefined && isSameSetting(value, 'on'))) return 'write';
  return undefined;
}
