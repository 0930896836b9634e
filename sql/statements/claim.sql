-- claim: take ready jobs of one queue under a new lease; and with the same commit delete acked jobs, each only while
--   its lease is still ours
-- $1 queue text, $2 limit int, $3 worker_id bigint
-- $4 flags as an array literal: no job that has one of them; null: whatever flags it has
-- $5 ids, $6 leases of acked jobs, as settle.sql has them; null: none
-- $7 bigint: jobs with a higher id only; the lowest bigint: all
-- $8 'true' or 'false': whether `left_behind` is asked for; otherwise it is false. It reads again what
--   the claim has read
-- $9 'true' or 'false': whether it may commit asynchronously, so that its answer does not wait for the disk. Only a
--   claim without acks may, and who may send one says src/worker/trust.ts
-- rows: the claimed jobs, by id, their times in seconds since 1970, run_at null where it is created_at, payload and
--   progress as JSON text, whose length tells what a job weighs (src/consume/claim/claim-size.ts);
--   and at the end one row more, without an id, with `signs` as JSON:
--   claimed_at: in seconds since 1970, of all of them; took_ms: how long this statement took, up to here
--   acked: null: all acked jobs have matched; otherwise the ids of those that have
--   suspects: the ids of those of the first ready jobs, `limit` at most, that have had a process die under them; null:
--     none. They are not taken: each has a claim of its own (claim_listed). In `short` they count as taken
--   short: null, unless fewer jobs were found than the limit. Then
--     xmin: of this statement's snapshot; every transaction with a lower id had ended
--     target: at least the next transaction id to be assigned when this statement began
--     left_behind: this snapshot shows a ready row that was not taken (locked by somebody, or taken by another
--       meanwhile)
--     due_in_ms: until the nearest scheduled row is due, whosever it is; 0 or less: it is; null: none
--     paused: the queue is, so nothing was taken; then nothing counts as left behind
-- plan: index job_ready, no sort of rows; then job_pkey. The picked ids are an array and no join: a join that was
--   planned while the table was empty may read the whole index for ever, an array of keys cannot. A part that is not
--   asked for is not run: a limit of 0 reads nothing.
-- cost: a plan of half as many nodes starts in half the time, and for a few jobs that is most of it. A column costs
--   server and client alike, unless it is null: so what all rows share is sent once; and times are float8, since an
--   `extract` goes through numeric and back (1 us each).
-- This is the statement of consumers that serve any kind. Those that serve some kinds send claim_kinds, which has
--   parts/claim.picked.claim_kinds.sql between the marks of `picked`: one statement for both costs a claim a tenth of
--   its time. The marks of `asked` stand where claim_some has further conditions (parts/claim.asked.claim_some.sql).
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
  select id, crashes > 0 as is_suspect
  from :"schema".job
  where queue = $1::text
    and state = 'ready'
    and id > $7::bigint
    and ($4::text is null or flags is null or not flags && $4::text::text[])
    -- begin asked
    -- end asked
    and exists (select from present)
  order by priority desc, id
  limit $2::int
  for no key update skip locked
),
-- Read only where the claim was short, and it was asked for.
visible as (
  select count(*) as jobs
  from (
    select
    from :"schema".job
    where queue = $1::text
      and state = 'ready'
      and ($4::text is null or flags is null or not flags && $4::text::text[])
      -- begin asked
      -- end asked
    order by priority desc, id
    limit $2::int
  ) as first
),
-- end picked
claimed as (
  update :"schema".job
  set state = 'running',
    worker_id = $3::bigint,
    claimed_at = statement_timestamp(),
    -- From within bounds, whatever somebody has written there: one row that could not be raised would stop its queue.
    attempt = least(greatest(job.attempt, 0), 999999999) + 1,
    -- A random step, drawn for each job: after a failover to an older state the same numbers must not come twice.
    lease = least(job.lease, 4611686018427387904) + 1 + floor(random() * 2147483648)::bigint
  where id = any (array(select id from picked where not is_suspect))
  returning
    id, kind, payload, attempt, lease, crashes, priority, key, flags, max_attempts, timeout_ms, progress,
    created_at, run_at
),
acked as (
  delete from :"schema".job
  where id = any ($5::bigint[])
    and worker_id = $3::bigint
    and lease = ($6::bigint[])[width_bucket(id, $5::bigint[])]
  returning id
)
select
  id,
  kind,
  payload::text as payload,
  attempt,
  lease,
  crashes,
  priority,
  key,
  array_to_json(flags) as flags,
  max_attempts,
  timeout_ms,
  progress::text as progress,
  date_part('epoch', created_at) as created_at,
  case when run_at <> created_at then date_part('epoch', run_at) end as run_at,
  null::json as signs
from claimed
union all
select
  null,
  -- Null whatever it does. It is a part of what is sent and volatile, so it is evaluated, and once; here, as this row
  -- comes also where no job was found. It holds until the end of this transaction, which is that of the statement.
  case when $9::text::boolean then nullif(set_config('synchronous_commit', 'off', true), 'off') end,
  null, null, null, null, null, null, null, null, null, null, null, null,
  json_build_object(
    'claimed_at', date_part('epoch', statement_timestamp()),
    'took_ms', date_part('epoch', clock_timestamp() - statement_timestamp()) * 1000,
    'acked', case
      when (select count(*) from acked) < cardinality($5::bigint[])
        then (select coalesce(json_agg(id::text), '[]') from acked)
    end,
    'suspects', case when suspects > 0 then (select json_agg(id::text) from picked where is_suspect) end,
    'short', case
      when ready < $2::int then json_build_object(
        'xmin', pg_snapshot_xmin(pg_current_snapshot())::text,
        'target',
        (
          pg_snapshot_xmin(pg_current_snapshot())::text::bigint
          + age(pg_snapshot_xmin(pg_current_snapshot())::xid)
        )::text,
        -- What was taken is a part of what the snapshot shows: the counts differ if and only if something was left.
        'left_behind', $8::text::boolean and not exists (select from pause) and ready < (select jobs from visible),
        'due_in_ms', (
          -- A difference to infinity is an error before PostgreSQL 17.
          select date_part('epoch', greatest(run_at, 'epoch') - clock_timestamp()) * 1000
          from :"schema".job
          where queue = $1::text
            and state = 'scheduled'
            and run_at < 'infinity'
          order by run_at
          limit 1
        ),
        'paused', exists (select from pause)
      )
    end
  )
from (select count(*) as ready, count(*) filter (where is_suspect) as suspects from picked) as counted
