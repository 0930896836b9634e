-- presence_terminate: end the other sessions that hold a worker's presence lock
-- $1 worker id bigint
-- rows: one per session: pid, terminated
-- In one statement: a pid that was read before may be somebody else's now.
select pid, pg_terminate_backend(pid) as terminated
from (
  select pid
  from pg_locks
  where locktype = 'advisory'
    and granted
    and database = (select oid from pg_database where datname = current_database())
    and classid = format('%I.worker', :'schema')::regclass::oid
    and objid = (hashint8($1::bigint)::bigint & 4294967295)::oid
    and objsubid = 2
    and pid <> pg_backend_pid()
  -- Not a filter beside the function: that one has an effect, and comes last.
  offset 0
) as holder
