-- job_find: one job, or archived job
-- $1 id bigint
-- rows: one or none; times in ms since 1970. A job that somebody put back by hand comes before its own archive.
-- plan: job_pkey, archive_pkey
select
  id::text as id,
  queue,
  kind,
  state,
  payload,
  priority,
  attempt,
  max_attempts,
  timeout_ms,
  crashes,
  key,
  array_to_json(flags)::text as flags,
  progress,
  (extract(epoch from created_at) * 1000)::float8 as created_at,
  (extract(epoch from run_at) * 1000)::float8 as run_at,
  (extract(epoch from claimed_at) * 1000)::float8 as claimed_at,
  (extract(epoch from finished_at) * 1000)::float8 as finished_at,
  worker_id::text as worker_id,
  (extract(epoch from cancel_requested_at) * 1000)::float8 as cancel_requested_at,
  last_error,
  result
from (
  select
    id, queue, kind, state, payload, priority, attempt, max_attempts, timeout_ms, crashes, key, flags, progress,
    created_at, run_at, claimed_at, finished_at, worker_id, cancel_requested_at, last_error, null::jsonb as result
  from :"schema".job
  union all
  select
    id, queue, kind, 'archived', payload, priority, attempt, max_attempts, timeout_ms, crashes, key, flags, progress,
    created_at, run_at, claimed_at, finished_at, worker_id, null, null, result
  from :"schema".archive
) as record
where id = $1::bigint
order by state = 'archived'
limit 1
