-- settle: write outcomes, each only while its lease is still ours
-- $1 worker_id bigint
-- $2 ids, $3 leases of acked jobs, as array literals of bigint, of equal length
-- $4 failed jobs as JSON text: [{ "id": "1", "lease": "7", "error": {...} }, ...]
-- rows: only the outcomes that did not match: id, and the row's lease now (null: there is no such row)
-- plan: job_pkey. No `state` in the guards: it would draw the planner to job_running.
with acking as materialized (
  select id, lease
  from rows from (unnest($2::text::bigint[]), unnest($3::bigint[])) as a (id, lease)
),
failing as materialized (
  select id, lease, error
  from json_to_recordset($4::text::json) as f (id bigint, lease bigint, error jsonb)
),
acked as (
  delete from :"schema".job
  using acking
  where job.id = acking.id
    and job.worker_id = $1::bigint
    and job.lease = acking.lease
  returning job.id
),
failed as (
  update :"schema".job
  set state = 'failed',
    worker_id = null,
    finished_at = clock_timestamp(),
    last_error = failing.error
  from failing
  where job.id = failing.id
    and job.worker_id = $1::bigint
    and job.lease = failing.lease
  returning job.id
),
missed as (
  (select id from acking except all select id from acked)
  union all
  (select id from failing except all select id from failed)
)
select missed.id::text as id, job.lease::text as lease
from missed
left join :"schema".job on job.id = missed.id
