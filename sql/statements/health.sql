-- health: is somebody there, and may it be written to?
-- rows: one: standby boolean
select pg_is_in_recovery() as standby
