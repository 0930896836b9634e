-- calm: queues on which nobody may open an express lane for some time (see worker_bury.sql)
-- rows: at most 1000: queue, since_ms: since the last burial of a worker that had one; left_ms: until it is over
select
  name as queue,
  greatest(
    0,
    extract(epoch from clock_timestamp() - calm_until) * 1000 + coalesce(calm_ms, 60000)
  )::float8 as since_ms,
  (extract(epoch from calm_until - clock_timestamp()) * 1000)::float8 as left_ms
from :"schema".queue
where calm_until > clock_timestamp()
order by calm_until
limit 1000
