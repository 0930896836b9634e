-- backend: which server process answers, and whether this session's advisory lock is held by that one
-- $1 a number of ours, 0 for none
-- rows: one: pid, version text, holds boolean, held_elsewhere boolean
select
  pg_backend_pid() as pid,
  current_setting('server_version') as version,
  coalesce(bool_or(pid = pg_backend_pid()), false) as holds,
  coalesce(bool_or(pid <> pg_backend_pid()), false) as held_elsewhere
from pg_locks
where locktype = 'advisory'
  and database = (select oid from pg_database where datname = current_database())
  and classid = ($1::bigint >> 32)::oid
  and objid = ($1::bigint & 4294967295)::oid
  and objsubid = 1
  and granted
