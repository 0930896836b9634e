-- asleep_holders: who holds K(queue), and how
-- $1 queue text
-- rows: one per session: pid, mode ('ShareLock' sleeps, 'ExclusiveLock' is in the way), is_own: it is this session
select pid, mode, pid = pg_backend_pid() as is_own
from pg_locks
where locktype = 'advisory'
  and granted
  and database = (select oid from pg_database where datname = current_database())
  and classid = format('%I.job', :'schema')::regclass::oid
  and objid = (hashtext($1::text)::bigint & 4294967295)::oid
  and objsubid = 2
