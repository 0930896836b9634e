-- express_keep: make locked jobs of a lane running ones, as a claim does, all of them or none
-- $1 worker_id bigint
-- $2 ctids as an array literal, $3 xid text, as express_ack has them
-- $4 new leases as an array literal of bigint, in the order of $2
-- rows: one. If a row was not changed (another transaction; a trigger, a rule or a policy has kept it), or the worker's
--   row is not there, so that they would be nobody's: error 22012
-- plan: tid scan
with kept as (
  update :"schema".job
  set state = 'running',
    worker_id = $1::bigint,
    claimed_at = statement_timestamp(),
    attempt = least(greatest(job.attempt, 0), 999999999) + 1,
    lease = ($4::bigint[])[array_position($2::tid[], ctid)]
  where ctid = any ($2::tid[])
    and pg_current_xact_id_if_assigned() = $3::text::xid8
    and exists (select from :"schema".worker where id = $1::bigint)
  returning 1
)
select 1 / (case when (select count(*) from kept) = cardinality($2::tid[]) then 1 else 0 end) as counted
