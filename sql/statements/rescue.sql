-- rescue: give back a batch of running jobs whose worker has no row, whoever has removed it, and of those without a
--   worker: we write none, but a row that somebody has written by hand may say so
-- $1 max_crashes int, $2 limit int
-- $3 ids as an array literal of bigint: those jobs only; null: any
-- $4 'true' or 'false': whether they keep their keys; otherwise their keys are free
-- rows: one per job: owner (the worker; 0: none), id, queue, kind, attempt, cause and message (null: it is ready again)
-- plan: job_running, one probe an owner, however many jobs each has; worker_pkey, one probe an owner; job_running for
--   the jobs of those that are gone, and once for those without an owner; job_pkey
with recursive owners (worker_id) as (
  (
    select worker_id
    from :"schema".job
    where state = 'running'
      and worker_id >= -9223372036854775808
    order by worker_id
    limit 1
  )
  union all
  select next.worker_id
  from owners
  cross join lateral (
    select worker_id
    from :"schema".job
    where state = 'running'
      and job.worker_id > owners.worker_id
    order by worker_id
    limit 1
  ) as next
),
gone as (
  select worker_id
  from owners
  -- One probe for each: limit 1 keeps the planner from any other join.
  left join lateral (
    select id
    from :"schema".worker
    where id = owners.worker_id
    limit 1
  ) as present on true
  where present.id is null
),
owned as materialized (
  select orphan.*
  from gone
  cross join lateral (
    select id, worker_id, crashes, attempt, max_attempts, cancel_requested_at
    from :"schema".job
    -- Once locked it is read again: one that is no longer that worker's is left out.
    where worker_id = gone.worker_id
      and state = 'running'
      and ($3::text is null or id = any ((select $3::text::bigint[])::bigint[]))
    limit $2::int
    -- Two rescuers share the work.
    for no key update skip locked
  ) as orphan
  limit $2::int
),
-- The walk over owners never meets a null.
ownerless as materialized (
  select id, worker_id, crashes, attempt, max_attempts, cancel_requested_at
  from :"schema".job
  where worker_id is null
    and state = 'running'
    and ($3::text is null or id = any ((select $3::text::bigint[])::bigint[]))
  limit $2::int - (select count(*) from owned)
  for no key update skip locked
),
orphans as materialized (
  select
    id,
    coalesce(worker_id, 0) as owner,
    case
      when cancel_requested_at is not null then 'cancelled'
      when crashes + 1 >= $1::int or attempt >= max_attempts then 'crashed'
    end as cause
  from (table owned union all table ownerless) as orphan
),
rescued as (
  update :"schema".job
  set state = case when cause is null then 'ready' else 'failed' end,
    worker_id = null,
    run_at = case when cause is null then clock_timestamp() else run_at end,
    -- Taken from its owner: whatever that one still writes must not match.
    lease = least(job.lease, 4611686018427387904) + 1 + floor(random() * 2147483648)::bigint,
    -- One that has its key until it is over cannot meet another's.
    key = case when $4::text::boolean or key_while = 'running' then key end,
    crashes = least(greatest(crashes, 0) + 1, 32000),
    finished_at = case when cause is not null then clock_timestamp() end,
    former_errors = case
      when cause is not null then :"schema".remember_error(former_errors, last_error)
      else former_errors
    end,
    last_error = case cause
      when 'cancelled' then jsonb_build_object(
        'name', 'BugleError',
        'message', 'cancelled',
        'code', 'CANCELLED',
        'failedBy', 'cancelled',
        'attempt', attempt
      )
      when 'crashed' then jsonb_build_object(
        'name', 'BugleError',
        'message', format('its process died while it ran: crash %s, attempt %s', crashes + 1, attempt),
        'code', 'CRASHED',
        'failedBy', 'crashed',
        'attempt', attempt
      )
      else last_error
    end
  from orphans
  where job.id = any (array(select id from orphans))
    and job.id = orphans.id
  returning orphans.owner, job.id, queue, kind, attempt, orphans.cause, job.last_error ->> 'message' as message
)
select
  owner::text as owner,
  id::text as id,
  queue,
  kind,
  attempt,
  cause,
  case when cause is not null then message end as message
from rescued
