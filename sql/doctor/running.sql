-- running: jobs that have been running for long
-- $1 for how long, in ms
-- rows: the longest first, at most 10: id, queue, kind, attempt, worker_id, running_ms, total (of the 10,000 running
--   rows that are looked at)
-- plan: job_running
select
  id::text as id,
  queue,
  kind,
  attempt,
  worker_id::text as worker_id,
  (extract(epoch from clock_timestamp() - claimed_at) * 1000)::float8 as running_ms,
  count(*) over ()::int as total
from (
  select id, queue, kind, attempt, worker_id, claimed_at
  from :"schema".job
  where state = 'running'
    and worker_id >= -9223372036854775808
  limit 10000
) as few
where claimed_at < clock_timestamp() - $1::float8 * interval '1 ms'
order by claimed_at
limit 10
