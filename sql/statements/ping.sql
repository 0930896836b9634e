-- ping: send a mark to ourselves, the long way round
-- $1 channel text, $2 mark text
-- rows: one: channel: as statement channel has it now; null: there are no tables. usage: how full the queue of
--   notifications is, 0 to 1. sent: false: it is half full, and no trigger notifies either
-- It reads the catalogs, as a role that may not use the schema sends it too: the doctor's.
select
  'bugle_' || (
    select oid
    from pg_class
    where relname = 'job'
      and relnamespace = (select oid from pg_namespace where nspname = :'schema')
  ) as channel,
  usage,
  case when usage < 0.5 then pg_notify($1::text, $2::text)::text end is not null as sent
from (select pg_notification_queue_usage() as usage offset 0) as queue
