-- put_options: insert jobs of one queue with whatever options a put has, but for keys
-- $1 queue text, $2 jobs as JSON text: [{ "payload": ..., "priority": 0, "kind", "run_at" in ms since 1970 or
--   "delay_ms", "flags", "max_attempts", "timeout_ms" }, ...]; everything but the payload may be missing
-- rows: id, ascending, which is the order of the jobs given
-- Nothing but the id is read, as in put.sql: a role that may only put is granted no more than that
--   (sql/grants/producer.sql). For keys more is read: put_keyed calls a function.
with given as (
  select *
  from rows from (
    json_to_recordset($2::text::json) as (
      payload jsonb,
      priority smallint,
      kind text,
      run_at float8,
      delay_ms float8,
      flags text[],
      max_attempts int,
      timeout_ms int
    )
  ) with ordinality
),
inserted as (
  insert into :"schema".job (queue, payload, priority, kind, run_at, flags, max_attempts, timeout_ms)
  select
    $1::text,
    -- A JSON null arrives as an SQL null.
    coalesce(payload, 'null'),
    coalesce(priority, 0),
    kind,
    coalesce(to_timestamp(run_at / 1000), clock_timestamp() + delay_ms * interval '1 ms', now()),
    flags,
    max_attempts,
    timeout_ms
  from given
  order by ordinality
  returning id
)
select id::text as id, null as key
from inserted
order by inserted.id
