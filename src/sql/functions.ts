/** Functions of PostgreSQL and its extensions whose call changes more than the result: SELECT is not always a read. */
import type { StatementKind } from './kind.ts';

/** They change rows, sequences or large objects, tell other sessions something, or hold a lock that others meet. */
const write = anyOf(
  'nextval|setval|lo_creat(?:e)?|lo_from_bytea|lo_put|lo_unlink|lowrite|lo_truncate(?:64)?|pg_notify',
  'pg_(?:try_)?advisory_(?:xact_)?lock(?:_shared)?',
);

/** They reach files, other sessions, the server's own state, raw pages, or run SQL that stands in a string. */
const admin = anyOf(
  'pg_(?:terminate|cancel)_backend|pg_reload_conf|pg_rotate_logfile(?:_old)?|pg_promote|pg_log_\\w+',
  'pg_read_(?:binary_)?file(?:_old)?|pg_ls_\\w+|pg_stat_file|pg_file_\\w+|pg_logdir_ls|pg_current_logfile|lo_import|lo_export',
  'pg_switch_wal|pg_create_\\w+|pg_drop_\\w+|pg_copy_\\w+|pg_logical_\\w+|pg_replication_\\w+|pg_sync_replication_slots',
  'pg_backup_\\w+|pg_start_backup|pg_stop_backup|pg_wal_\\w+|pg_available_wal_summaries|pg_stat_reset\\w*|pg_stat_statements_reset',
  'pg_import_system_collations|pg_set_\\w+|pg_clear_\\w+|pg_restore_\\w+|binary_upgrade_\\w+|pg_nextoid|pg_extension_config_dump',
  'pg_stop_making_pinned_objects|pg_hba_file_rules|pg_ident_file_mappings|pg_show_all_file_settings',
  'dblink\\w*|postgres_fdw_\\w+|(?:query|cursor|table|schema|database)_to_xml\\w*|ts_stat|ts_rewrite|xpath_table|crosstab\\w*|connectby',
  'get_raw_page|bt_page_\\w+|bt_multi_page_stats|bt_metap|hash_bitmap_info|heap_page_\\w+|tuple_data_split|fsm_page_contents',
  'pg_get_wal_(?:record|records|block)\\w*|pg_get_wal_stats|pg_get_logical_snapshot_\\w+|pg_buffercache_(?:evict|mark_dirty)\\w*',
  'pg_prewarm|autoprewarm_\\w+|pg_truncate_visibility_map|heap_force_\\w+',
  'brin_summarize_\\w+|brin_desummarize_range|gin_clean_pending_list|xslt_process',
);

/** Functions that take a key or a password, which often stands in the text (dblink, pgcrypto). */
const secret = anyOf('dblink\\w*|pgp_(?:sym|pub)_\\w+|crypt|hmac|(?:en|de)crypt(?:_iv)?');

/** Functions that run SQL which stands in a string, or the checks of a type that stands in one. */
const text = anyOf(
  'pg_input_(?:is_valid|error_info)|(?:domain|array|record|range|multirange)_(?:in|recv)',
  'dblink\\w*|(?:query|cursor|table|schema|database)_to_xml\\w*|ts_stat|ts_rewrite|xpath_table|crosstab\\w*|connectby',
);

const lock = anyOf('pg_(?:try_)?advisory_(?:xact_)?lock(?:_shared)?');

/** The kind of a call by the function's bare name; undefined for one that is not known to do more than compute. */
export function functionKind(name: string): StatementKind | undefined {
  if (write.test(name)) return 'write';
  return admin.test(name) ? 'admin' : undefined;
}

/** Whether a literal in a call of this function is likely to be a key or a password. */
export function takesSecret(name: string): boolean {
  return secret.test(name);
}

/** Whether it runs SQL that stands in a string, or could stand there. */
export function runsText(name: string): boolean {
  return text.test(name);
}

/** Whether it takes a lock that other sessions meet. */
export function locks(name: string): boolean {
  return lock.test(name);
}

function anyOf(...names: readonly string[]): RegExp {
  return new RegExp(`^(?:${names.join('|')})$`);
}
