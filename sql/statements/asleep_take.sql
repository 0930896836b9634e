-- asleep_take: hold K(queue) shared on this session, waiting up to its lock_timeout
-- $1 queue text
-- rows: one: channel: as statement channel has it, of the tables whose K it is
select
  'bugle_' || job.oid as channel,
  pg_advisory_lock_shared(job.oid::int, hashtext($1::text)) as taken
from (select format('%I.job', :'schema')::regclass::oid as oid offset 0) as job
