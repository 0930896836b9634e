-- stats_queues: how many jobs wait, run and have failed in each queue; no look goes further than a bound
-- $1 queue text, null: all, $2 most rows counted of a queue and state int, $3 most queues int
-- $4 names to be listed whatever is in them, as a JSON array, $5 most rows counted of a state in all queues together
--   int
-- rows: one per queue, at most one more than $3, the first by name:
--   name, is_paused
--   most: how far the ready and the scheduled jobs of a queue were counted: $2, or with many queues its share of $5
--   ready, scheduled: counts; more than most: at least most
--   running, failed: counts; more than $2: at least $2
--   is_running_cut, is_failed_cut: the look at the running or failed jobs of all queues together has ended at its bound
--   oldest_ready_ms: how long ago the oldest ready job could run, of those that were counted and the first of each
--     priority;
--     null: none is ready
-- plan: whatever the number of jobs: job_ready and job_due, one probe per queue to find the names; then of each queue
--   the first `most` entries of either, and one probe of job_ready a priority; once job_running and, backwards,
--   job_failed, to their bounds; queue_pkey. The whole of worker.
with recursive ready_names (queue) as (
  (
    select queue
    from :"schema".job
    where state = 'ready'
      and $1::text is null
    order by queue
    limit 1
  )
  union all
  select next.queue
  from ready_names
  cross join lateral (
    select queue
    from :"schema".job
    where state = 'ready'
      and job.queue > ready_names.queue
    order by queue
    limit 1
  ) as next
),
scheduled_names (queue) as (
  (
    select queue
    from :"schema".job
    where state = 'scheduled'
      and $1::text is null
    order by queue
    limit 1
  )
  union all
  select next.queue
  from scheduled_names
  cross join lateral (
    select queue
    from :"schema".job
    where state = 'scheduled'
      and job.queue > scheduled_names.queue
    order by queue
    limit 1
  ) as next
),
-- Of all queues together, since no index has them by queue. Few run; of the failed the newest are looked at.
running as materialized (
  select queue
  from :"schema".job
  where state = 'running'
    and worker_id >= -9223372036854775808
  order by worker_id
  limit $2::int + 1
),
failed as materialized (
  select queue
  from :"schema".job
  where state = 'failed'
  order by finished_at desc, id desc
  limit $2::int + 1
),
names as materialized (
  select queue, sum(running)::int as running, sum(failed)::int as failed
  from (
    select queue::text as queue, 0 as running, 0 as failed
    from (select queue from ready_names limit $3::int + 1) as ready
    union all
    select queue::text, 0, 0 from (select queue from scheduled_names limit $3::int + 1) as scheduled
    union all
    select queue::text, 1, 0 from running
    union all
    select queue::text, 0, 1 from failed
    union all
    select name::text, 0, 0 from (select name from :"schema".queue order by name limit $3::int + 1) as kept
    union all
    select consumer ->> 'queue', 0, 0
    from :"schema".worker
    cross join lateral jsonb_array_elements(consumers) as consumer
    union all
    select json_array_elements_text($4::text::json), 0, 0
  ) as seen
  where $1::text is null
    or queue = $1::text
  group by queue
  -- As the indexes have them.
  order by queue collate "C"
  limit $3::int + 1
),
-- A thousand deep queues would take a minute otherwise.
bound as materialized (
  select least($2::int, $5::int / greatest(1, count(*)::int)) as most
  from names
)
select
  names.queue as name,
  (select most from bound) as most,
  coalesce((select paused_at is not null from :"schema".queue where name = names.queue), false) as is_paused,
  ready.number as ready,
  (
    select count(*)::int
    from (
      select
      from :"schema".job
      where queue = names.queue
        and state = 'scheduled'
      order by run_at
      limit (select most from bound) + 1
    ) as looked
  ) as scheduled,
  names.running,
  names.failed,
  (select count(*) from running) > $2::int as is_running_cut,
  (select count(*) from failed) > $2::int as is_failed_cut,
  case when ready.number > 0 then greatest(
    0,
    extract(epoch from statement_timestamp() - least(ready.oldest, by_priority.oldest, lowest.run_at)) * 1000
  ) end::float8 as oldest_ready_ms
from names
cross join lateral (
  select count(*)::int as number, min(run_at) filter (where isfinite(run_at)) as oldest
  from (
    select run_at
    from :"schema".job
    where queue = names.queue
      and state = 'ready'
    order by priority desc, id
    limit (select most from bound) + 1
  ) as looked
) as ready
-- A lower priority may starve unseen behind many jobs of a higher one. So the first job of a priority counts too: for
-- the hundred highest,
cross join lateral (
  with recursive first (priority, run_at, number) as (
    (
      select priority, run_at, 1
      from :"schema".job
      where queue = names.queue
        and state = 'ready'
      order by priority desc, id
      limit 1
    )
    union all
    select next.priority, next.run_at, first.number + 1
    from first
    cross join lateral (
      select priority, run_at
      from :"schema".job
      where queue = names.queue
        and state = 'ready'
        and job.priority < first.priority
      order by priority desc, id
      limit 1
    ) as next
    where first.number < 100
  )
  select min(run_at) filter (where isfinite(run_at)) as oldest
  from first
) as by_priority
-- and for the lowest.
left join lateral (
  select case when isfinite(first.run_at) then first.run_at end as run_at
  from (
    select priority
    from :"schema".job
    where queue = names.queue
      and state = 'ready'
    order by priority, id desc
    limit 1
  ) as last
  cross join lateral (
    select run_at
    from :"schema".job
    where queue = names.queue
      and state = 'ready'
      -- Not equal: of a constant priority the order is that of id alone, and the planner may walk over the whole of
      -- job_pkey.
      and job.priority <= last.priority
    order by priority desc, id
    limit 1
  ) as first
) as lowest on true
