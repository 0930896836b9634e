-- worker_lane: a worker says that it has an express lane on a queue; committed before the lane's first claim
-- What it has said stays until its row goes: whoever buries it makes these queues calm (worker_bury.sql).
-- Few workers say it of one queue: each claim walks over the rows that the lanes of others have locked. Where
--   two say it at once there may be one too many, which does no harm.
-- $1 worker id bigint, $2 queue text, $3 int: how many others may say it for this lane to be opened
-- rows: one: present: whether the worker's row is there, and says so, and no more others than that do
with others as materialized (
  select count(*) <= $3::int as few
  from :"schema".worker
  where id <> $1::bigint
    and $2::text = any (lanes)
),
said as (
  update :"schema".worker
  set lanes = lanes || $2::text
  where id = $1::bigint
    and $2::text <> all (lanes)
    and (select few from others)
  returning 1
)
select few and (
    exists (select from said)
    or exists (select from :"schema".worker where id = $1::bigint and $2::text = any (lanes))
  ) as present
from others
