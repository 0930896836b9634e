-- orphans: running jobs whose worker has no row, or that have none; statements/rescue.sql gives them back
-- rows: one per worker that is gone, at most 100, and one for all jobs without one: worker_id (null: none), jobs (at
--   most 1000), oldest_ms (of those)
-- plan: as rescue.sql: job_running, one probe per owner, and one for those without
with recursive owners (worker_id) as (
  (
    select worker_id
    from :"schema".job
    where state = 'running'
      and worker_id >= -9223372036854775808
    order by worker_id
    limit 1
  )
  union all
  select next.worker_id
  from owners
  cross join lateral (
    select worker_id
    from :"schema".job
    where state = 'running'
      and job.worker_id > owners.worker_id
    order by worker_id
    limit 1
  ) as next
),
gone as materialized (
  select worker_id
  from owners
  where not exists (select from :"schema".worker where id = owners.worker_id)
  limit 100
)
select
  worker_id::text as worker_id,
  count(*)::int as jobs,
  (extract(epoch from clock_timestamp() - min(claimed_at)) * 1000)::float8 as oldest_ms
from (
  select few.worker_id, few.claimed_at
  from gone
  cross join lateral (
    select worker_id, claimed_at
    from :"schema".job
    where job.worker_id = gone.worker_id
      and state = 'running'
    limit 1000
  ) as few
  union all
  (
    select worker_id, claimed_at
    from :"schema".job
    where worker_id is null
      and state = 'running'
    limit 1000
  )
) as orphan
group by worker_id
