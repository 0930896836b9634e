-- doze: how many others doze on a queue; a session that dozes says so by a shared lock beside its K(queue)
-- $1 queue text, $2 'true' or 'false': whether to take that lock now; it is not waited for
-- rows: one: channel: as statement channel has it; taken: whether it was asked for and had; others: other sessions that
--   hold it; before: those of them that come before this one, in an order that all of them know: by a hash of the
--   process id, as processes that began together may also end together
with tables as materialized (
  select
    format('%I.job', :'schema')::regclass::oid as job,
    format('%I.queue', :'schema')::regclass::oid as queue
)
select channel, taken, dozers[1] as others, dozers[2] as before
from (
  select
    'bugle_' || tables.job as channel,
    case
      when $2::text::boolean then pg_try_advisory_lock_shared(tables.queue::int, hashtext($1::text))
      else false
    end as taken,
    (
      select array[count(*)::int, (count(*) filter (where hashint4(pid) < hashint4(pg_backend_pid())))::int]
      from pg_locks
      where locktype = 'advisory'
        and granted
        and database = (select oid from pg_database where datname = current_database())
        and classid = tables.queue
        and objid = (hashtext($1::text)::bigint & 4294967295)::oid
        and objsubid = 2
        and pid <> pg_backend_pid()
    ) as dozers
  from tables
  -- Not flattened: the lock is taken once, and before the others are counted.
  offset 0
) as counted
