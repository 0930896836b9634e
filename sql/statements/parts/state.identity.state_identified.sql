-- state_identified: what this database is, and which server it is on
-- This is no whole statement: it replaces the part `identity` of state.sql, from `-- begin identity` to
--   `-- end identity`.
-- identity: `7301234567890123456/00000002`, the system identifier and the timeline of what is written now; null: a
--   standby. pg_control_checkpoint() would say the timeline of the last checkpoint, and after a promotion that is the
--   former one, for minutes.
  case
    when not pg_is_in_recovery()
      then (select system_identifier from pg_control_system()) || '/' ||
        substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
  end as identity,
