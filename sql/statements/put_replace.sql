-- put_replace: insert jobs of one queue; one whose key waits already takes the place of that job, under its id
-- $1 queue text, $2 jobs as JSON text: [{ "payload": ..., "priority": 0, "kind", "run_at" in ms since 1970 or "delay_ms",
--   "key", "flags", "max_attempts", "timeout_ms" }, ...]; everything but the payload may be missing; no key twice
-- rows: id, ascending, and key; of those that were inserted, in the order given
-- The waiting job is locked until the transaction's end: it does not run before what is written with it is committed.
with given as (
  select *
  from rows from (
    json_to_recordset($2::text::json) as (
      payload jsonb,
      priority smallint,
      kind text,
      run_at float8,
      delay_ms float8,
      key text,
      flags text[],
      max_attempts int,
      timeout_ms int
    )
  ) with ordinality
),
inserted as (
  insert into :"schema".job as waiting (queue, payload, priority, kind, run_at, key, flags, max_attempts, timeout_ms)
  select
    $1::text,
    -- A JSON null arrives as an SQL null.
    coalesce(payload, 'null'),
    coalesce(priority, 0),
    kind,
    coalesce(to_timestamp(run_at / 1000), clock_timestamp() + delay_ms * interval '1 ms', now()),
    key,
    flags,
    max_attempts,
    timeout_ms
  from given
  order by ordinality
  on conflict (queue, key) where key is not null and state in ('ready', 'scheduled') do update
  set payload = excluded.payload,
    priority = excluded.priority,
    kind = excluded.kind,
    -- Ready or scheduled: what the insert's trigger has made of it.
    state = excluded.state,
    run_at = excluded.run_at,
    flags = excluded.flags,
    max_attempts = excluded.max_attempts,
    timeout_ms = excluded.timeout_ms,
    -- It is another job now, and has all its attempts.
    attempt = 0,
    crashes = 0,
    progress = null,
    last_error = null
  returning id, key
)
select id::text as id, key
from inserted
order by inserted.id
