-- presence_take: hold a worker's presence lock on this session, shared, so that it can be had beside a predecessor's
-- $1 worker id bigint
-- rows: one: channel: as statement channel has it, of the tables whose lock it is; pid: of this session
--   up_ms: for how long the server has run without a crash, as far as it can tell. One whose backend dies begins anew,
--   and keeps its start time; but it throws its statistics away, as after every crash, and says when. (A reset of
--   statistics counts as a crash here: that does no harm.) Before 15 it has to ask another process for that, for
--   seconds at times: so there it is 0
--   lock_table: for how many locks the server has room, those of all its databases together
select
  pg_backend_pid() as pid,
  'bugle_' || tables.job as channel,
  case
    when current_setting('server_version_num')::int < 150000 then 0
    else date_part(
      'epoch',
      clock_timestamp() - greatest(pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time())
    ) * 1000
  end as up_ms,
  current_setting('max_locks_per_transaction')::float8
    * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) as lock_table,
  pg_advisory_lock_shared(tables.worker::int, hashint8($1::bigint)) as taken
from (
  select
    format('%I.job', :'schema')::regclass::oid as job,
    format('%I.worker', :'schema')::regclass::oid as worker
  offset 0
) as tables
