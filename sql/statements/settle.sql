-- settle: write outcomes, each only while its lease is still ours
-- $1 worker_id bigint
-- $2 ids, $3 leases of acked jobs, as array literals of bigint, of equal length
-- $4 failed jobs as JSON text: [{ "id": "1", "lease": "7", "error": {...} }, ...]
-- rows: only the outcomes that did not match: id, and the row's lease and state now (null: there is no such row)
-- plan: job_pkey, by arrays of keys (see claim). No `state` in the guards: it would draw the planner to job_running.
with acked as (
  delete from :"schema".job
  where id = any ($2::text::bigint[])
    and worker_id = $1::bigint
    and lease = ($3::text::bigint[])[array_position($2::text::bigint[], id)]
  returning id
),
failing as materialized (
  select id, lease, error
  from json_to_recordset($4::text::json) as f (id bigint, lease bigint, error jsonb)
),
failed as (
  update :"schema".job
  set state = 'failed',
    worker_id = null,
    finished_at = clock_timestamp(),
    last_error = failing.error
  from failing
  where job.id = any (array(select id from failing))
    and job.id = failing.id
    and job.worker_id = $1::bigint
    and job.lease = failing.lease
  returning job.id
),
missed as (
  (select unnest($2::text::bigint[]) as id except all select id from acked)
  union all
  (select id from failing except all select id from failed)
)
select
  id::text as id,
  now_there.lease::text as lease,
  now_there.state
from missed
-- One probe for each: limit 1 keeps the planner from any other join.
left join lateral (
  select lease, state
  from :"schema".job
  where job.id = missed.id
  limit 1
) as now_there on true
