-- jobs_find: a page of jobs and archived jobs, newest id first
-- $1 id bigint, below which the page begins, $2 limit int
-- $3 queue text, $4 state text, $5 kind text, $6 created since float8, in ms since 1970; null: whatever
-- rows: times in ms since 1970
-- plan: for these very values, so that a filter that is null costs nothing. From job_pkey and archive_pkey backwards,
--   side by side, until the page is full; or by the index of a state that few rows have.
-- The part between the two marks says which rows; job_find has parts/jobs_find.page.job_find.sql there.
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
  -- The page first, and only its rows are put into shape.
  select *
  from (
    select
      id, queue, kind, state::text as state, payload, priority, attempt, max_attempts, timeout_ms, crashes, key, flags,
      progress, created_at, run_at, claimed_at, finished_at, worker_id, cancel_requested_at, last_error,
      null::jsonb as result, false as is_archived
    from :"schema".job
    union all
    select
      id, queue, kind, 'archived'::text, payload, priority, attempt, max_attempts, timeout_ms, crashes, key, flags,
      progress, created_at, run_at, claimed_at, finished_at, worker_id, null, null, result,
      true
    from :"schema".archive
  ) as record
  -- begin page
  where ($1::bigint is null or id < $1::bigint)
    and ($3::text is null or queue = $3::text)
    and ($4::text is null or state = $4::text)
    -- Of constants: one of the two tables is left out.
    and ($4::text is null or is_archived = ($4::text = 'archived'))
    and ($5::text is null or kind = $5::text)
    and ($6::float8 is null or created_at >= to_timestamp($6::float8 / 1000))
  order by id desc
  limit $2::int
  -- end page
) as page
order by page.id desc
