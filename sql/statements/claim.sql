-- claim: take jobs of one queue under a new lease: ready ones, and while there are too few, scheduled ones that are due, if
--   there are slots for all of those; and with the same commit delete acked jobs, each only while its lease is still ours
-- $1 queue text, $2 limit int, $3 worker_id bigint
-- $4 kinds as an array literal: jobs of these kinds only; null: of any kind, and of none
-- $5 flags as an array literal: no job that has one of them; null: whatever flags it has
-- $6 ids, $7 leases of acked jobs, as settle.sql has them; null: none
-- rows: the claimed jobs, by id, their times in seconds since 1970, run_at null where it is created_at;
--   and at the end one row more, without an id, with `signs` as JSON:
--   claimed_at: in seconds since 1970, of all of them
--   missed: the acked jobs that did not match, as settle.sql has them: [{ id, lease, state }, ...]; null: none
--   short: null, unless fewer jobs were found than the limit. Then
--     xmin: of this statement's snapshot; every transaction with a lower id had ended
--     target: at least the next transaction id to be assigned when this statement began
--     left_behind: this snapshot shows a ready row that was not taken (locked by somebody, or taken by another meanwhile)
--     due_in_ms: until the nearest scheduled row that was not taken, whosever it is; 0 or less: it is due; null: none
--     too_many_due: there were more due rows than slots, and none was taken
--     paused: the queue is, so nothing was taken; then nothing counts as left behind
-- plan: index job_ready, then job_due, no sort of rows; then job_pkey. The picked ids as an array and not as a join: a join
--   that was planned while the table was empty may read the whole index for ever, an array of keys cannot. What is not
--   asked for is not run: a limit of 0 reads nothing.
-- cost: each column of a claimed row costs the server and the client about as much as a null check costs if it is null; so what
--   all rows share is sent once, and times as float8 (an `extract` goes through numeric and back, 1 us each).
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
    claimed_at = statement_timestamp(),
    attempt = job.attempt + 1,
    -- A random step: after a failover to an older state the same numbers must not come twice.
    lease = job.lease + (select 1 + floor(random() * 1000)::int)
  where id = any (array(select id from picked union all select id from due))
  returning
    id, kind, payload, attempt, lease, crashes, priority, key, flags, max_attempts, timeout_ms, progress, created_at, run_at
),
acked as (
  delete from :"schema".job
  where id = any ((select $6::text::bigint[])::bigint[])
    and worker_id = $3::bigint
    and lease = ((select $7::text::bigint[]))[width_bucket(id, (select $6::text::bigint[]))]
  returning id
),
counted as (
  select
    (select count(*) from picked) as ready,
    (select count(*) from due) as due
)
select
  id,
  kind,
  payload,
  attempt,
  lease,
  crashes,
  priority,
  key,
  array_to_json(flags) as flags,
  max_attempts,
  timeout_ms,
  progress,
  date_part('epoch', created_at) as created_at,
  case when run_at <> created_at then date_part('epoch', run_at) end as run_at,
  null::json as signs
from claimed
union all
select
  null, null, null, null, null, null, null, null, null, null, null, null, null, null,
  json_build_object(
    'claimed_at', date_part('epoch', statement_timestamp()),
    'missed', case
      when (select count(*) from acked) < cardinality((select $6::text::bigint[])) then (
        select json_agg(json_build_object('id', missed.id::text, 'lease', now_there.lease::text, 'state', now_there.state))
        from (select unnest($6::text::bigint[]) as id except all select id from acked) as missed
        -- One probe for each: limit 1 keeps the planner from any other join.
        left join lateral (
          select lease, state
          from :"schema".job
          where job.id = missed.id
          limit 1
        ) as now_there on true
      )
    end,
    'short', case
      when ready + due < $2::int then json_build_object(
        'xmin', pg_snapshot_xmin(pg_current_snapshot())::text,
        'target',
        (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + age(pg_snapshot_xmin(pg_current_snapshot())::xid))::text,
        -- What was taken is a part of what the snapshot shows: the counts differ if and only if something was left.
        'left_behind', not exists (select from pause) and ready < (select jobs from visible),
        'due_in_ms', (
          select date_part('epoch', run_at - clock_timestamp()) * 1000
          from :"schema".job
          where queue = $1::text
            and state = 'scheduled'
            and id <> all (array(select id from due))
          order by run_at
          limit 1
        ),
        'too_many_due', not exists (select from pause) and due = 0 and (select jobs from all_due) > $2::int - ready,
        'paused', exists (select from pause)
      )
    end
  )
from counted
