-- express_claim: lock ready jobs of one queue for a lane, in the transaction that will delete those that are acked
-- It takes only what a lane may run: jobs without a key, under which no process has died, that are not large, and whose
--   row was not locked by a transaction that has aborted: that may have been a lane whose process died.
-- $1 queue text, $2 limit int, $3 worker_id bigint
-- $4 flags as an array literal: no job that has one of them; null: whatever flags it has
-- $5 bigint: jobs with a higher id only; the lowest bigint: all
-- rows: the locked jobs in claim order: ctid: where the row is; version: its xmin; payload as JSON text; created_at in
--   whole microseconds since 1970; more: null for a job that has nothing but a payload, otherwise as JSON what else it
--   has, run_at like created_at, or null: as that;
--   and at the end one row more, with its `more` alone, which is about the claim itself, as JSON:
--   xid: of this transaction; null: no row was locked
--   claimed_at: in seconds since 1970; took_ms: how long this statement took, up to here
--   paused: the queue is; calm: it is (worker_bury.sql); present: the worker's row is there, and
--     says that it has a lane here (worker_lane.sql). Unless it is neither and that is so, no row was looked at
-- plan: index job_ready, no sort
-- xmax is the last transaction that has locked or updated the row, without its upper half; the nearest one before this
--   snapshot's end is meant. Only 'committed' lets the row pass: not a transaction that is too old to be known.
-- The transaction has its number only when a row is locked. So it is read last: the parts of a `union all` come one
--   after the other. Were it otherwise, the number would be missing, and the acks under it would be refused as a whole.
with signs as materialized (
  select
    coalesce((select paused_at is not null from :"schema".queue where name = $1::text), false) as paused,
    coalesce(
      (select calm_until > statement_timestamp() from :"schema".queue where name = $1::text),
      false
    ) as calm,
    exists (select from :"schema".worker where id = $3::bigint and $1::text = any (lanes)) as present
)
select
  -- All of it as text: an application may have its own parsers for bigint and JSON, and they would be the lane's too.
  id::text as id,
  ctid::text as ctid,
  version::text as version,
  payload::text as payload,
  -- From within bounds: a row written by hand may hold infinity.
  round(least(greatest(date_part('epoch', created_at), -8.64e12), 8.64e12) * 1e6)::bigint::text as created_at,
  case
    when kind is null
      and attempt = 0
      and lease = 0
      and priority = 0
      and flags is null
      and max_attempts is null
      and timeout_ms is null
      and progress is null
      and run_at = created_at then null
    else json_build_object(
      'kind', kind,
      'attempt', attempt,
      'lease', lease::text,
      'priority', priority,
      'flags', array_to_json(flags),
      'max_attempts', max_attempts,
      'timeout_ms', timeout_ms,
      'progress', progress::text,
      'run_at', case
        when run_at <> created_at
          then round(least(greatest(date_part('epoch', run_at), -8.64e12), 8.64e12) * 1e6)::bigint::text
      end
    )::text
  end as more
from (
  select
    id,
    ctid,
    xmin as version,
    payload,
    created_at,
    run_at,
    kind,
    attempt,
    lease,
    priority,
    flags,
    max_attempts,
    timeout_ms,
    progress
  from :"schema".job
  where queue = $1::text
    and state = 'ready'
    and id > $5::bigint
    and crashes = 0
    and key is null
    and ($4::text is null or flags is null or not flags && $4::text::text[])
    and pg_column_size(payload) <= 8192
    and (progress is null or pg_column_size(progress) <= 8192)
    and (
      xmax = 0
      or pg_xact_status(
        greatest(
          0,
          (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint) - 1
          - (
            ((select pg_snapshot_xmax(pg_current_snapshot())::text::bigint) - 1 - xmax::text::bigint)
            & 4294967295
          )
        )::text::xid8
      ) = 'committed'
    )
    and (select present and not paused and not calm from signs)
  order by priority desc, id
  limit $2::int
  for update skip locked
) as picked
union all
select
  null, null, null, null, null,
  json_build_object(
    'xid', pg_current_xact_id_if_assigned()::text,
    'claimed_at', date_part('epoch', statement_timestamp()),
    'took_ms', date_part('epoch', clock_timestamp() - statement_timestamp()) * 1000,
    'paused', paused,
    'calm', calm,
    'present', present
  )::text
from signs
