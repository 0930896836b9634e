-- presence_take: hold a worker's presence lock on this session, shared, so that it can be had beside a predecessor's
-- $1 worker id bigint
-- rows: one: channel: as statement channel has it, of the tables whose lock it is; pid: of this session
select
  pg_backend_pid() as pid,
  'bugle_' || tables.job as channel,
  pg_advisory_lock_shared(tables.worker::int, hashint8($1::bigint)) as taken
from (
  select
    format('%I.job', :'schema')::regclass::oid as job,
    format('%I.worker', :'schema')::regclass::oid as worker
  offset 0
) as tables
