-- workers: who says to be there, and what shows that they are
-- rows: one per worker, at most 1000: id, name, host, pid, version, seen_ms, rescue_after_ms, hung_after_ms, consumers
--   (JSON as text), is_held (its presence lock), is_listening (a session's last statement was the LISTEN on its own
--   ping channel)
with held as materialized (
  select distinct objid
  from pg_locks
  where locktype = 'advisory'
    and granted
    and database = (select oid from pg_database where datname = current_database())
    and classid = format('%I.worker', :'schema')::regclass::oid
    and objsubid = 2
),
listening as materialized (
  select query
  from pg_stat_activity
  where datname = current_database()
    and query like 'LISTEN %'
)
select
  id::text as id,
  name,
  host,
  pid,
  version,
  (extract(epoch from clock_timestamp() - seen_at) * 1000)::float8 as seen_ms,
  rescue_after_ms,
  hung_after_ms,
  consumers::text as consumers,
  exists (select from held where objid = (hashint8(id)::bigint & 4294967295)::oid) as is_held,
  exists (select from listening where query like '%bugle\_ping\_' || id || '%') as is_listening
from :"schema".worker
order by started_at, id
limit 1000
