-- heartbeat: confirm this worker's presence, and look around
-- $1 id bigint, $2 rescue_after_ms int, $3 hung_after_ms int, $4 queue names as a JSON array
-- $5 what it consumes, as JSON: [{ queue, concurrency, kinds, isPaused }, ...]
-- $6 queue names as a JSON array: those on which it dozes
-- rows: one:
--   present: whether the worker's row is there; if not, others have given it up
--   server: when the server was started; another value: all sessions were ended in between
--   running: the running jobs that it owns, as JSON: [{ id, lease, attempt, cancelled }, ...]
--   others: all other workers, as JSON: [{ id, seen_at, rescue_after_ms, hung_after_ms }, ...]
--   paused: which of the queues are, as JSON
--   channel: as statement channel has it now
--   dozers: of each queue on which it dozes, as statement doze has it, as JSON: [{ queue, others, before }, ...]
-- plan: worker_pkey, job_running, queue_pkey
with beaten as (
  update :"schema".worker
  set seen_at = clock_timestamp(),
    rescue_after_ms = $2::int,
    hung_after_ms = $3::int,
    -- As it was while it is the same: a long list is not written again with every beat.
    consumers = case when consumers = $5::text::jsonb then consumers else $5::text::jsonb end
  where id = $1::bigint
  returning id
)
select
  exists (select from beaten) as present,
  extract(epoch from pg_postmaster_start_time())::text as server,
  (
    select coalesce(json_agg(owned), '[]')::text
    from (
      select id::text as id, lease::text as lease, attempt, cancel_requested_at is not null as cancelled
      from :"schema".job
      where worker_id = $1::bigint
        and state = 'running'
      limit 10000
    ) as owned
  ) as running,
  (
    select coalesce(json_agg(other), '[]')::text
    from (
      select
        id::text as id,
        -- Exact, and the same whatever the session's settings: what is compared, and what guards a burial.
        to_char(seen_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as seen_at,
        rescue_after_ms,
        hung_after_ms
      from :"schema".worker
      where id <> $1::bigint
    ) as other
  ) as others,
  (
    select coalesce(json_agg(found.name), '[]')::text
    from json_array_elements_text($4::text::json) as asked (name)
    cross join lateral (
      select name
      from :"schema".queue
      where name = asked.name
        and paused_at is not null
      limit 1
    ) as found
  ) as paused,
  'bugle_' || to_regclass(format('%I.job', :'schema'))::oid as channel,
  (
    select coalesce(json_agg(dozing), '[]')::text
    from (
      select asked.name as queue, counted.others, counted.before
      from json_array_elements_text($6::text::json) as asked (name)
      -- Where nothing is asked, no lock is looked at.
      cross join lateral (
        select
          count(*) as others,
          count(*) filter (where hashint4(pid) < hashint4(pg_backend_pid())) as before
        from pg_locks
        where locktype = 'advisory'
          and granted
          and database = (select oid from pg_database where datname = current_database())
          and classid = to_regclass(format('%I.queue', :'schema'))::oid
          and objid = (hashtext(asked.name)::bigint & 4294967295)::oid
          and objsubid = 2
          and pid <> pg_backend_pid()
      ) as counted
    ) as dozing
  ) as dozers
