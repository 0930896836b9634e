-- cancelled: which of a worker's running jobs are to be cancelled
-- $1 worker_id bigint, $2 ids as an array literal of bigint
-- rows: one per job: id
-- plan: job_pkey
select id::text as id
from :"schema".job
where id = any ($2::text::bigint[])
  and worker_id = $1::bigint
  and state = 'running'
  and cancel_requested_at is not null
