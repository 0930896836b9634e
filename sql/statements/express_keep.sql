-- express_keep: make locked jobs of a lane running ones, as a claim does, all of them or none
-- $1 worker_id bigint
-- $2 ctids as an array literal, $3 xid text, as express_ack has them
-- $4 new leases as an array literal of bigint, in the order of $2
-- rows: one: present: whether the worker's row is there. If not, nothing is changed: the jobs of a worker that was
--   given up would be nobody's. If it is, and a row was not changed: error 22012
-- plan: tid scan
with present as materialized (
  select id
  from :"schema".worker
  where id = $1::bigint
),
kept as (
  update :"schema".job
  set state = 'running',
    worker_id = $1::bigint,
    claimed_at = statement_timestamp(),
    attempt = least(greatest(job.attempt, 0), 999999999) + 1,
    lease = ($4::bigint[])[array_position($2::tid[], ctid)]
  where ctid = any ($2::tid[])
    and pg_current_xact_id_if_assigned() = $3::text::xid8
    and exists (select from present)
  returning 1
)
select
  exists (select from present) as present,
  1 / (
    case
      when not exists (select from present) or (select count(*) from kept) = cardinality($2::tid[]) then 1
      else 0
    end
  ) as counted
