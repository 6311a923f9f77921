/** What a principal with masks may look at and set beside tables: relations of the catalog, settings, types by name. Written by hand. */

const words = (text: string) => new Set(text.trim().split(/\s+/));

/** Relations of pg_catalog that describe the database. What is not here shows data, statistics, other people's statements or secrets. */
export const catalogRelations: ReadonlySet<string> = words(`
  pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_available_extensions pg_available_extension_versions pg_cast
  pg_class pg_collation pg_constraint pg_conversion pg_database pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension
  pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_group pg_index pg_indexes pg_inherits pg_init_privs pg_language
  pg_largeobject_metadata pg_matviews pg_namespace pg_opclass pg_operator pg_opfamily pg_parameter_acl pg_partitioned_table pg_policies pg_policy
  pg_proc pg_publication pg_publication_namespace pg_publication_rel pg_publication_tables pg_range pg_rewrite pg_roles pg_rules pg_seclabel
  pg_seclabels pg_sequence pg_sequences pg_shdepend pg_stat_gssapi pg_stat_ssl pg_shdescription pg_shseclabel pg_statistic_ext pg_tables pg_tablespace pg_timezone_abbrevs
  pg_timezone_names pg_transform pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_type pg_user pg_views`);

/** Of information_schema: those that show options of servers and users, which hold passwords. */
export const refusedInformation: ReadonlySet<string> = words(`
  _pg_user_mappings _pg_foreign_servers _pg_foreign_tables _pg_foreign_table_columns user_mapping_options foreign_server_options foreign_table_options`);

/** That SHOW, current_setting and pg_settings may tell: none depends on data. */
export const shownSettings: ReadonlySet<string> = words(`
  application_name block_size bytea_output client_encoding client_min_messages cluster_name constraint_exclusion cursor_tuple_fraction datestyle
  default_tablespace default_text_search_config default_transaction_deferrable default_transaction_isolation default_transaction_read_only
  default_table_access_method effective_cache_size extra_float_digits from_collapse_limit geqo idle_in_transaction_session_timeout idle_session_timeout in_hot_standby
  integer_datetimes intervalstyle jit join_collapse_limit lc_collate lc_ctype lc_messages lc_monetary lc_numeric lc_time lock_timeout max_connections
  max_identifier_length max_index_keys max_prepared_transactions max_worker_processes maintenance_work_mem password_encryption quote_all_identifiers random_page_cost row_security
  search_path server_encoding server_version server_version_num session_replication_role shared_buffers standard_conforming_strings statement_timeout
  temp_tablespaces timezone timezone_abbreviations transaction_deferrable transaction_isolation transaction_read_only transaction_timeout work_mem
  xmlbinary xmloption backslash_quote escape_string_warning synchronous_commit wal_level hot_standby ssl is_superuser session_authorization role
  default_with_oids array_nulls check_function_bodies gin_fuzzy_search_limit`);

/** May be set to any constant: they change how results look, or how long and with how much memory the server works. */
export const freeSettings: ReadonlySet<string> = words(`
  application_name datestyle intervalstyle timezone extra_float_digits statement_timeout lock_timeout idle_in_transaction_session_timeout
  idle_session_timeout transaction_timeout jit geqo work_mem maintenance_work_mem default_transaction_isolation default_transaction_deferrable
  transaction_isolation transaction_deferrable synchronous_commit lc_messages lc_monetary lc_numeric lc_time
  from_collapse_limit join_collapse_limit max_parallel_workers_per_gather random_page_cost effective_cache_size default_text_search_config
  escape_string_warning check_function_bodies default_tablespace default_table_access_method xmloption quote_all_identifiers bytea_output
  cursor_tuple_fraction default_with_oids`);

/** May be set to these only: what they are already, or what tools ask for at start. */
export const fixedSettings: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['client_encoding', words('utf8 utf-8 unicode')],
  ['standard_conforming_strings', words('on true 1 yes')],
  ['client_min_messages', words('notice warning error')],
  ['row_security', words('on true 1 yes')],
  ['synchronize_seqscans', words('off on')],
  ['array_nulls', words('on')],
  ['default_transaction_read_only', words('on true 1 yes')],
  ['transaction_read_only', words('on true 1 yes')],
]);

/** Types without an order or equality, which GROUP BY cannot take. */
export const incomparableTypes: ReadonlySet<string> = words('json xml point box path polygon line lseg circle _json _xml _point');
