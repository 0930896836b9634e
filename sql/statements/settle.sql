-- settle: delete acked jobs, each only while its lease is still ours
-- $1 worker_id bigint
-- $2 ids, $3 leases, as array literals of bigint, of equal length
-- rows: only the outcomes that did not match: id, and the row's lease and state now (null: there is no such row)
-- plan: job_pkey, by an array of keys (see claim). No `state` in the guard: it would draw the planner to job_running.
with acked as (
  delete from :"schema".job
  where id = any ($2::text::bigint[])
    and worker_id = $1::bigint
    and lease = ($3::text::bigint[])[array_position($2::text::bigint[], id)]
  returning id
)
select
  missed.id::text as id,
  now_there.lease::text as lease,
  now_there.state
from (select unnest($2::text::bigint[]) as id except all select id from acked) as missed
-- One probe for each: limit 1 keeps the planner from any other join.
left join lateral (
  select lease, state
  from :"schema".job
  where job.id = missed.id
  limit 1
) as now_there on true
