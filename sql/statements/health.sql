-- health: is somebody there, and may it be written to?
-- rows: one: standby boolean, read_only boolean (transactions are, by a setting of the role's or the server's)
select
  pg_is_in_recovery() as standby,
  current_setting('default_transaction_read_only')::boolean as read_only
