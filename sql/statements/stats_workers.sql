-- stats_workers: every worker that has a row, how it can be seen, and how many jobs it owns
-- $1 most rows counted of a worker int
-- rows: one per worker: id, name, host, pid, version, started_at in ms since 1970, consumers jsonb, rescue_after_ms,
--   hung_after_ms
--   seen_ms_ago: since its last heartbeat, both by this server's clock
--   is_lock_held: some session holds its presence lock (presence_holders.sql)
--   running: count; more than $1: at least $1
-- plan: the whole of worker; of each the first $1 entries of job_running
with held as materialized (
  select objid as key
  from pg_locks
  where locktype = 'advisory'
    and granted
    and database = (select oid from pg_database where datname = current_database())
    and classid = format('%I.worker', :'schema')::regclass::oid
    and objsubid = 2
)
select
  id::text as id,
  name,
  host,
  pid,
  version,
  (extract(epoch from started_at) * 1000)::float8 as started_at,
  greatest(0, extract(epoch from clock_timestamp() - seen_at) * 1000)::float8 as seen_ms_ago,
  rescue_after_ms,
  hung_after_ms,
  consumers,
  (hashint8(id)::bigint & 4294967295)::oid in (select key from held) as is_lock_held,
  (
    select count(*)::int
    from (
      select
      from :"schema".job
      where worker_id = worker.id
        and state = 'running'
      limit $1::int + 1
    ) as looked
  ) as running
from :"schema".worker
