-- settle_express: delete acked jobs of a lane whose commit is not known, each only while it is as it was claimed
-- $1 ids, in ascending order, each once; $2 leases, $3 created_at, $4 run_at, $5 versions, all as express_claim has
--   them: array literals of equal length
-- rows: as settle has them: the outcomes that did not match: id, and the row's lease and state now (null: the row is
--   gone). A row of that id that was inserted at another time is another job, and counts as none
-- It waits for the lane's transaction, if that still holds the row, and sees how it has ended.
-- plan: job_pkey, by an array of keys (see claim)
-- Ids and leases come again after a failover, or when the sequence is restarted; created_at does not. A row that was
--   edited meanwhile has another version: what it says now has not run. Not its place: a second edit may move it back.
with acked as (
  delete from :"schema".job
  where id = any ((select $1::text::bigint[])::bigint[])
    and state not in ('scheduled', 'running', 'failed')
    and lease = ((select $2::text::bigint[]))[width_bucket(id, (select $1::text::bigint[]))]
    and round(least(greatest(date_part('epoch', created_at), -8.64e12), 8.64e12) * 1e6)::bigint
      = ((select $3::text::bigint[]))[width_bucket(id, (select $1::text::bigint[]))]
    and round(least(greatest(date_part('epoch', run_at), -8.64e12), 8.64e12) * 1e6)::bigint
      = ((select $4::text::bigint[]))[width_bucket(id, (select $1::text::bigint[]))]
    and xmin::text::bigint = ((select $5::text::bigint[]))[width_bucket(id, (select $1::text::bigint[]))]
  returning id
)
select
  missed.id,
  now_there.lease,
  now_there.state
from (
  select unnest($1::text::bigint[]) as id
  -- Compared one by one only where there is something to find.
  where (select count(*) from acked) < cardinality((select $1::text::bigint[]))
  except all
  select id from acked
) as missed
-- One probe for each: limit 1 keeps the planner from any other join.
left join lateral (
  select lease, state
  from :"schema".job
  where job.id = missed.id
    and round(least(greatest(date_part('epoch', created_at), -8.64e12), 8.64e12) * 1e6)::bigint
      = ((select $3::text::bigint[]))[width_bucket(missed.id, (select $1::text::bigint[]))]
  limit 1
) as now_there on true
