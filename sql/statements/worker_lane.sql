-- worker_lane: a worker says that it has an express lane on a queue; committed before the lane's first claim
-- What it has said stays until its row goes: whoever buries it makes these queues calm (worker_bury.sql).
-- $1 worker id bigint, $2 queue text
-- rows: one: present: whether the worker's row is there
with said as (
  update :"schema".worker
  set lanes = lanes || $2::text
  where id = $1::bigint
    and $2::text <> all (lanes)
)
select exists (select from :"schema".worker where id = $1::bigint) as present
