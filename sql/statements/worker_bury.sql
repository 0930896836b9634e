-- worker_bury: remove a worker that was found dead; and make the queues calm on which it had an express lane
-- A job may be why it died. A lane counts no crashes, so for some time nobody may have one on these queues: for a
--   minute, and for twice as long as the last time if that is over for less than it took, up to an hour.
-- It waits for no queue's row that somebody has locked, and leaves that one as it is.
-- $1 id bigint, $2 its seen_at as it was observed (heartbeat.sql): one that has moved since is alive
-- rows: its id, if it was this statement that removed it
with buried as (
  delete from :"schema".worker
  where id = $1::bigint
    and seen_at = $2::text::timestamp at time zone 'UTC'
  returning id, lanes
),
free as materialized (
  select name
  from :"schema".queue
  where name = any (array(select unnest(lanes) from buried))
  for no key update skip locked
),
calmed as (
  update :"schema".queue
  set
    -- Burials within one calm time have one cause, as the end of a machine.
    calm_ms = case
      when calm_until > clock_timestamp() then coalesce(calm_ms, 60000)
      when calm_until > clock_timestamp() - calm_ms * interval '1 ms'
        then 2 * least(greatest(calm_ms, 30000), 1800000)
      else 60000
    end,
    calm_until = greatest(
      calm_until,
      clock_timestamp() + interval '1 ms' * case
        when calm_until > clock_timestamp() then coalesce(calm_ms, 60000)
        when calm_until > clock_timestamp() - calm_ms * interval '1 ms'
          then 2 * least(greatest(calm_ms, 30000), 1800000)
        else 60000
      end
    )
  where name = any (array(select name from free))
),
made as (
  insert into :"schema".queue (name, calm_until, calm_ms)
  select distinct lane, clock_timestamp() + interval '1 min', 60000
  from buried
  cross join lateral unnest(lanes) as lane
  -- What somebody has written there by hand must not keep a worker from being buried.
  where char_length(lane) between 1 and 128
    -- One that is there and locked would be waited for.
    and not exists (select from :"schema".queue where name = lane)
  on conflict (name) do nothing
)
select id::text as id
from buried
