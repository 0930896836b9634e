-- claim: take jobs of one queue under a new lease: ready ones, and while there are too few, scheduled ones that are due, if
--   there are slots for all of those
-- $1 queue text, $2 limit int, $3 worker_id bigint
-- $4 kinds as an array literal: jobs of these kinds only; null: of any kind, and of none
-- $5 flags as an array literal: no job that has one of them; null: whatever flags it has
-- rows: the claimed jobs, by id; and if they are fewer than the limit one more row at the end, without an id:
--   xmin: of this statement's snapshot; every transaction with a lower id had ended
--   target: at least the next transaction id to be assigned when this statement began
--   left_behind: this snapshot shows a ready row that was not taken (locked by somebody, or taken by another meanwhile)
--   due_in_ms: until the nearest scheduled row that was not taken, whosever it is; 0 or less: it is due; null: none
--   too_many_due: there were more due rows than slots, and none was taken
--   paused: the queue is, so nothing was taken; then nothing counts as left behind
-- plan: index job_ready, then job_due, no sort of rows; then job_pkey. The picked ids as an array and not as a join: a join
--   that was planned while the table was empty may read the whole index for ever, an array of keys cannot. What is not
--   asked for is not run: a limit of 0 reads nothing.
-- This is the statement for consumers of any kind. Where $4 is given, what stands between the two marks is claim_kinds.sql's:
--   in one statement both cost every claim a tenth of its time.
with pause as materialized (
  select name
  from :"schema".queue
  where name = $1::text
    and paused_at is not null
),
-- Whether this worker may claim: as long as its row is there, and the queue is not paused.
present as materialized (
  select id
  from :"schema".worker
  where id = $3::bigint
    and not exists (select from pause)
),
-- begin picked
picked as materialized (
  select id
  from :"schema".job
  where queue = $1::text
    and state = 'ready'
    and ($5::text is null or flags is null or not flags && $5::text::text[])
    and exists (select from present)
  order by priority desc, id
  limit $2::int
  for no key update skip locked
),
-- Read only where the claim was short.
visible as (
  select count(*) as jobs
  from (
    select
    from :"schema".job
    where queue = $1::text
      and state = 'ready'
      and ($5::text is null or flags is null or not flags && $5::text::text[])
    order by priority desc, id
    limit $2::int
  ) as first
),
-- end picked
-- One more than would be taken is enough to know.
all_due as (
  select count(*) as jobs
  from (
    select
    from :"schema".job
    where queue = $1::text
      and state = 'scheduled'
      and run_at <= statement_timestamp()
    order by run_at
    limit $2::int + 1 - (select count(*) from picked)
  ) as first
),
due as materialized (
  select id
  from :"schema".job
  where queue = $1::text
    and state = 'scheduled'
    and run_at <= statement_timestamp()
    and ($4::text is null or kind = any ($4::text::text[]))
    and ($5::text is null or flags is null or not flags && $5::text::text[])
    and exists (select from present)
    -- Among more than there are slots for, priority decides: they are to be made ready first.
    and (select jobs from all_due) <= $2::int - (select count(*) from picked)
  order by run_at
  limit $2::int - (select count(*) from picked)
  for no key update skip locked
),
claimed as (
  update :"schema".job
  set state = 'running',
    worker_id = $3::bigint,
    claimed_at = clock_timestamp(),
    attempt = job.attempt + 1,
    -- A random step: after a failover to an older state the same numbers must not come twice.
    lease = job.lease + 1 + floor(random() * 1000)::int
  where id = any (array(select id from picked union all select id from due))
  returning job.*
),
counted as (
  select
    (select count(*) from picked) as ready,
    (select count(*) from due) as due
)
select
  id::text as id,
  kind,
  payload,
  attempt,
  lease::text as lease,
  crashes,
  priority,
  key,
  array_to_json(flags)::text as flags,
  max_attempts,
  timeout_ms,
  progress,
  (extract(epoch from created_at) * 1000)::float8 as created_at,
  (extract(epoch from run_at) * 1000)::float8 as run_at,
  greatest(0, extract(epoch from claimed_at - greatest(run_at, created_at)) * 1000)::float8 as wait_ms,
  null::text as xmin,
  null::text as target,
  null::boolean as left_behind,
  null::float8 as due_in_ms,
  null::boolean as too_many_due,
  null::boolean as paused
from claimed
union all
select
  null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
  pg_snapshot_xmin(pg_current_snapshot())::text,
  (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + age(pg_snapshot_xmin(pg_current_snapshot())::xid))::text,
  -- What was taken is a part of what the snapshot shows: the counts differ if and only if something was left.
  not exists (select from pause) and ready < (select jobs from visible),
  (
    select extract(epoch from run_at - clock_timestamp()) * 1000
    from :"schema".job
    where queue = $1::text
      and state = 'scheduled'
      and id <> all (array(select id from due))
    order by run_at
    limit 1
  )::float8,
  not exists (select from pause) and due = 0 and (select jobs from all_due) > $2::int - ready,
  exists (select from pause)
from counted
where ready + due < $2::int
