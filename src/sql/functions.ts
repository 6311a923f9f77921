/** Functions of PostgreSQL and its extensions whose call changes more than the result: SELECT is not always a read. */
import type { StatementKind } from './kind.ts';

const write = /^(?:nextval|setval|lo_creat(?:e)?|lo_from_bytea|lo_put|lo_unlink|lowrite|lo_truncate(?:64)?|pg_notify)$/;

const admin = new RegExp(
  [
    'pg_(?:terminate|cancel)_backend|pg_reload_conf|pg_rotate_logfile(?:_old)?|pg_promote|pg_log_backend_memory_contexts',
    'pg_read_(?:binary_)?file(?:_old)?|pg_ls_\\w+|pg_stat_file|pg_file_\\w+|pg_current_logfile|lo_import|lo_export',
    'pg_switch_wal|pg_create_\\w+|pg_drop_\\w+|pg_copy_\\w+|pg_logical_\\w+|pg_replication_\\w+|pg_sync_replication_slots',
    'pg_backup_\\w+|pg_start_backup|pg_stop_backup|pg_wal_replay_\\w+|pg_stat_reset\\w*|pg_stat_statements_reset',
    'pg_import_system_collations|pg_set_\\w+|pg_clear_\\w+|pg_restore_\\w+|binary_upgrade_\\w+|pg_nextoid|pg_extension_config_dump',
    'dblink\\w*|postgres_fdw_\\w+|(?:query|cursor|table|schema|database)_to_xml\\w*|ts_stat|ts_rewrite|xpath_table|crosstab\\w*|connectby',
    'get_raw_page|pg_prewarm|autoprewarm_\\w+|pg_truncate_visibility_map|heap_force_\\w+|brin_summarize_\\w+|brin_desummarize_range|gin_clean_pending_list',
  ].join('|').replace(/^/, '^(?:').replace(/$/, ')$'),
);

/** The kind of a call by the function's bare name; undefined for one that is not known to do more than compute. */
export function functionKind(name: string): StatementKind | undefined {
  if (write.test(name)) return 'write';
  return admin.test(name) ? 'admin' : undefined;
}
