-- channel: on which wake-ups travel; the trigger's function wake() names it in the same way
-- rows: one: channel; cancel_channel: on which workers are told of cancels (trigger's function tell_cancel())
select
  'bugle_' || job.oid as channel,
  'bugle_' || job.oid || '_cancel' as cancel_channel
from (select format('%I.job', :'schema')::regclass::oid as oid) as job
