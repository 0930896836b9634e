-- settle: delete acked jobs, each only while its lease is still ours
-- $1 worker_id bigint
-- $2 ids, $3 leases, as array literals of bigint, of equal length; the ids in ascending order, each once
-- rows: only the outcomes that did not match: id, and the row's lease and state now (null: there is no such row)
-- plan: job_pkey, by an array of keys (see claim). No `state` in the guard: it would draw the planner to job_running.
-- Each array is read from its text once, by a subquery, and searched by halves: the count of thresholds up to the id is
--   its place in the list. Read again for each row, and searched from the beginning, 250 acks took 20 ms instead of
--   one.
with acked as (
  delete from :"schema".job
  where id = any ((select $2::text::bigint[])::bigint[])
    and worker_id = $1::bigint
    and lease = ((select $3::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
  returning id
)
select
  missed.id,
  now_there.lease,
  now_there.state
from (
  select unnest($2::text::bigint[]) as id
  -- Compared one by one only where there is something to find.
  where (select count(*) from acked) < cardinality((select $2::text::bigint[]))
  except all
  select id from acked
) as missed
-- One probe for each: limit 1 keeps the planner from any other join.
left join lateral (
  select lease, state
  from :"schema".job
  where job.id = missed.id
  limit 1
) as now_there on true
