-- ready_queues: which queues have ready jobs
-- rows: at most 1000: queue, is_paused, jobs (at most 1001)
-- plan: job_ready, one probe per queue
with recursive queues (queue) as (
  (
    select queue::text collate "C" as queue
    from :"schema".job
    where state = 'ready'
    order by job.queue
    limit 1
  )
  union all
  select next.queue
  from queues
  cross join lateral (
    select job.queue::text collate "C" as queue
    from :"schema".job
    where state = 'ready'
      and job.queue > queues.queue
    order by job.queue
    limit 1
  ) as next
)
select
  queues.queue,
  exists (select from :"schema".queue where name = queues.queue and paused_at is not null) as is_paused,
  (
    select count(*)::int
    from (
      select
      from :"schema".job
      where job.queue = queues.queue
        and state = 'ready'
      limit 1001
    ) as few
  ) as jobs
from queues
limit 1000
