-- settle_other: write every outcome but a plain ack, each only while its lease is still ours
-- $1 worker_id bigint
-- $2 outcomes as JSON text: [{ "id": "1", "lease": "7", "end": ... }, ...], where end and what else is read is
--   "archived": result, keep_ms (null: until it is collected by age). Those who wait for it are told
--   "failed": error
--   "waiting": delay_ms, kept_attempt (false: the attempt is given back), error (null: the former one stays), progress
--     (with has_progress; otherwise the former one stays). Of a job whose cancel was requested it makes "failed", with
--     the cause cancelled.
-- rows: those that did not match: id, the row's lease and state now (null: there is no such row), run_at null;
--   and, with matched, those that wait: run_at in ms since 1970 (null: it was cancelled)
-- plan: job_pkey, by arrays of keys (see claim); archive_pkey, for each record
with given as materialized (
  select id, lease, "end", delay_ms, kept_attempt, error, has_progress, progress, result, keep_ms
  from json_to_recordset($2::text::json) as given (
    id bigint,
    lease bigint,
    "end" text,
    delay_ms float8,
    kept_attempt boolean,
    error jsonb,
    has_progress boolean,
    progress jsonb,
    result jsonb,
    keep_ms float8
  )
),
tables as materialized (
  select
    format('%I.job', :'schema')::regclass::oid as job,
    format('%I.archive', :'schema')::regclass::oid::int as archive
),
archived as (
  delete from :"schema".job
  where id = any (array(select id from given where "end" = 'archived'))
    and worker_id = $1::bigint
    and lease = (select lease from given where given.id = job.id limit 1)
  returning job.*
),
stored as (
  insert into :"schema".archive (
    id, queue, kind, payload, priority, run_at, attempt, lease, crashes, worker_id, claimed_at, created_at, finished_at,
    key, key_while, flags, max_attempts, timeout_ms, progress, result, expires_at
  )
  select
    -- Another job's record has this id: ids have begun anew, as after a restore without the sequence. Then this one
    -- gets an id of the upper half, which no sequence comes to. That record was there before this statement: two jobs
    -- of one id are never in the table of jobs together.
    case
      when exists (
        select
        from :"schema".archive as other
        where other.id = archived.id
          and (other.queue, other.created_at) is distinct from (archived.queue, archived.created_at)
      ) then 4611686018427387904 + floor(random() * 4611686018427387904)::bigint
      else id
    end,
    queue, kind, payload, priority, run_at, attempt, lease, crashes, worker_id, claimed_at, created_at,
    clock_timestamp(), key, key_while, flags, max_attempts, timeout_ms, progress,
    (select result from given where given.id = archived.id limit 1),
    clock_timestamp() + (select keep_ms from given where given.id = archived.id limit 1) * interval '1 ms'
  from archived
  -- Somebody has put the row of this very job back by hand: the later run counts.
  on conflict (id) do update
  set lease = excluded.lease,
    attempt = excluded.attempt,
    claimed_at = excluded.claimed_at,
    finished_at = excluded.finished_at,
    result = excluded.result,
    expires_at = excluded.expires_at
  -- Does somebody wait for its result (result_locks.sql)? One expression, as in the trigger's function wake().
  returning
    id,
    case
      when
        case
          when pg_try_advisory_lock((select archive from tables), 1 + (id & 63)::int)
            then not pg_advisory_unlock((select archive from tables), 1 + (id & 63)::int)
          else true
        end
        and pg_notification_queue_usage() < 0.5
        then pg_notify(concat('bugle_', (select job from tables), '_result'), id::text)::text
    end as told
),
changed as (
  update :"schema".job
  set state = case when "end" = 'failed' or cancel_requested_at is not null then 'failed' else 'ready' end,
    worker_id = null,
    attempt = case
      when kept_attempt is false and cancel_requested_at is null then greatest(attempt, 1) - 1
      else attempt
    end,
    -- A row due ahead becomes scheduled by its trigger.
    run_at = case
      when "end" = 'failed' or cancel_requested_at is not null then run_at
      else clock_timestamp() + given.delay_ms * interval '1 ms'
    end,
    finished_at = case when "end" = 'failed' or cancel_requested_at is not null then clock_timestamp() end,
    former_errors = case
      when last_error is not null
        and (given.error is not null or ("end" <> 'failed' and cancel_requested_at is not null))
        then :"schema".remember_error(former_errors, last_error)
      else former_errors
    end,
    last_error = case
      when "end" <> 'failed' and cancel_requested_at is not null then jsonb_build_object(
        'name', 'BugleError',
        'message', 'cancelled',
        'code', 'CANCELLED',
        'failedBy', 'cancelled',
        'attempt', attempt,
        'cause', given.error
      )
      else coalesce(given.error, last_error)
    end,
    progress = case when has_progress then given.progress else job.progress end
  from given
  where job.id = any (array(select id from given where "end" <> 'archived'))
    and job.id = given.id
    and job.worker_id = $1::bigint
    and job.lease = given.lease
  returning job.id, job.lease, job.state, job.run_at, given."end"
),
missed as (
  select id from given
  except all
  (select id from changed union all select id from archived)
)
select
  id::text as id,
  now_there.lease::text as lease,
  now_there.state,
  false as matched,
  null::float8 as run_at
from missed
-- One probe for each: limit 1 keeps the planner from any other join.
left join lateral (
  select lease, state
  from :"schema".job
  where job.id = missed.id
  limit 1
) as now_there on true
union all
select
  id::text,
  lease::text,
  state,
  true,
  case when state <> 'failed' then (extract(epoch from run_at) * 1000)::float8 end
from changed
where "end" = 'waiting'
