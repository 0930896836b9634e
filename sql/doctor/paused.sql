-- paused: which queues are
-- rows: at most 1000: queue, paused_ms
select name as queue, (extract(epoch from clock_timestamp() - paused_at) * 1000)::float8 as paused_ms
from :"schema".queue
where paused_at is not null
order by paused_at
limit 1000
