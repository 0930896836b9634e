-- orphans: running jobs whose worker has no row, and those without a worker: what rescue would give back
-- $1 limit int, $2 ids as an array literal of bigint: all but those
-- rows: one per job: id, queue, has_key
-- plan: job_running, read in whole; worker_pkey. Sent only where a rescue was refused.
select id::text as id, queue, key is not null as has_key
from :"schema".job
where state = 'running'
  and not exists (select from :"schema".worker where worker.id = job.worker_id)
  and id <> all ($2::bigint[])
limit $1::int
