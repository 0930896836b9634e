-- claim: take ready jobs of one queue under a new lease
-- $1 queue text, $2 limit int, $3 worker_id bigint
-- rows: the claimed jobs, by id; and if they are fewer than the limit one more row at the end, without an id:
--   xmin: of this statement's snapshot; every transaction with a lower id had ended
--   target: at least the next transaction id to be assigned when this statement began
--   left_behind: this snapshot shows a ready row that was not taken (locked by somebody, or taken by another meanwhile)
-- plan: index job_ready, no sort; then job_pkey. The picked ids as an array and not as a join: a join that was planned
--   while the table was empty may read the whole index for ever, an array of keys cannot.
with picked as materialized (
  select id
  from :"schema".job
  where queue = $1::text
    and state = 'ready'
    and exists (select from :"schema".worker where worker.id = $3::bigint)
  order by priority desc, id
  limit $2::int
  for no key update skip locked
),
claimed as (
  update :"schema".job
  set state = 'running',
    worker_id = $3::bigint,
    claimed_at = clock_timestamp(),
    attempt = job.attempt + 1,
    -- A random step: after a failover to an older state the same numbers must not come twice.
    lease = job.lease + 1 + floor(random() * 1000)::int
  where id = any (array(select id from picked))
  returning job.*
),
counted as (
  select count(*) as taken from picked
)
select
  id::text as id,
  kind,
  payload,
  attempt,
  lease::text as lease,
  crashes,
  priority,
  key,
  array_to_json(flags)::text as flags,
  max_attempts,
  timeout_ms,
  progress,
  (extract(epoch from created_at) * 1000)::float8 as created_at,
  (extract(epoch from run_at) * 1000)::float8 as run_at,
  greatest(0, extract(epoch from claimed_at - greatest(run_at, created_at)) * 1000)::float8 as wait_ms,
  null::text as xmin,
  null::text as target,
  null::boolean as left_behind
from claimed
union all
select
  null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
  pg_snapshot_xmin(pg_current_snapshot())::text,
  (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + age(pg_snapshot_xmin(pg_current_snapshot())::xid))::text,
  -- What was taken is a part of what the snapshot shows: the counts differ if and only if something was left.
  taken < (
    select count(*)
    from (
      select
      from :"schema".job
      where queue = $1::text
        and state = 'ready'
      order by priority desc, id
      limit $2::int
    ) as visible
  )
from counted
where taken < $2::int
