-- 0002_functions: what an operator does to jobs, for psql and every language
--
-- As in 0001, function bodies find their tables by the search_path fixed on each function.

-- select bugle.requeue_many('{17,18}'): failed and archived jobs become ready again, under their ids. Says how many.
-- One that would have its key until it is over stays as it is where another has the key, be it one of these.
-- Several calls at once make one job of each: the second call waits for the row's lock, and finds the row ready, or
-- gone. Not a second `requeue`: of two, PostgreSQL could not tell which one a parameter without a type is meant for.
create function :"schema".requeue_many(ids bigint[]) returns bigint
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
declare
  requeued bigint;
  requeued_at_once bigint;
begin
  -- Archived jobs come back as failed jobs first, since no key has to be unique among those. One that would have its key
  -- until it is over is ready at once, or stays in the archive: as a failed one it would be passed over by trigger
  -- job_free_key, and have lost that it was acked. The lease goes along: it must go on growing. Locked in the order of
  -- ids, here and below: two calls that share ids wait for each other and not in a circle.
  with held as materialized (
    select *
    from archive
    where id = any (ids)
      -- Somebody has put the row back by hand: then that one is the job.
      and not exists (select from job where job.id = archive.id)
    order by id
    for update
  ),
  added as (
    insert into job (
      id, queue, kind, payload, state, priority, lease, created_at, key, key_while, flags, max_attempts, timeout_ms,
      progress
    )
    overriding system value
    select
      id, queue, kind, payload, case when key_while = 'running' then 'ready' else 'failed' end, priority, lease,
      created_at, key, key_while, flags, max_attempts, timeout_ms, progress
    from held
    on conflict (queue, key) where key is not null and (state in ('ready', 'scheduled') or state = key_while)
    do nothing
    returning id, state
  ),
  moved as (
    delete from archive
    where id = any (array(select id from added))
  )
  select count(*)
  into requeued_at_once
  from added
  where state = 'ready';

  for try in 1..10 loop
    begin
      with held as materialized (
        select id
        from job
        where id = any (ids)
          and state = 'failed'
        order by id
        for no key update
      )
      update job
      set state = 'ready',
        run_at = now(),
        attempt = 0,
        crashes = 0,
        claimed_at = null,
        finished_at = null,
        cancel_requested_at = null,
        last_error = null,
        former_errors = null
      where id = any (array(select id from held));
      get diagnostics requeued = row_count;
      return requeued + requeued_at_once;
    exception when unique_violation then
      -- A put of the same key committed in between. Now its row is seen, and trigger job_free_key gives way to it.
      if try = 10 then
        raise;
      end if;
    end;
  end loop;
end
$$;

-- select bugle.requeue(17): whether that made it ready.
create function :"schema".requeue(id bigint) returns boolean
language sql
set search_path = pg_catalog, :"schema", pg_temp
as $$
  select requeue_many(array[requeue.id]) > 0
$$;

-- select bugle.cancel(17):
--   'cancelled': it waited, and is failed now
--   'requested': it runs, and will not go back to its queue; if this run succeeds, that counts
--   'not-found': it is over, or there is none
create function :"schema".cancel(id bigint) returns text
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
declare
  found_state text;
begin
  -- Waits for a claim in flight, or whoever else has the row, and reads it as it is after that.
  select state
  into found_state
  from job
  where job.id = cancel.id
  for no key update;

  if found_state in ('scheduled', 'ready') then
    update job
    set state = 'failed',
      -- Of an earlier run, if any: this one had none.
      claimed_at = null,
      finished_at = clock_timestamp(),
      cancel_requested_at = clock_timestamp(),
      former_errors = remember_error(former_errors, last_error),
      last_error = jsonb_build_object(
        'name', 'BugleError',
        'message', 'cancelled',
        'code', 'CANCELLED',
        'failedBy', 'cancelled',
        'attempt', attempt
      )
    where job.id = cancel.id;
    return 'cancelled';
  end if;

  if found_state = 'running' then
    update job
    set cancel_requested_at = clock_timestamp()
    where job.id = cancel.id
      and cancel_requested_at is null;
    return 'requested';
  end if;

  return 'not-found';
end
$$;

-- select bugle.cancel_many('{17,18}'): says how many of them were cancelled, or are to end. states: only those that are
-- in one of these once nobody else is changing them; null: whatever their state.
create function :"schema".cancel_many(ids bigint[], states text[] default null) returns bigint
language sql
set search_path = pg_catalog, :"schema", pg_temp
as $$
  -- In the order of ids, as requeue_many locks them.
  with held as materialized (
    select id
    from job
    where id = any (ids)
      and (states is null or state = any (states))
    order by id
    for no key update
  )
  select count(*)
  from held
  where cancel(id) <> 'not-found'
$$;

-- select bugle.edit(17, run_at => now()): a job that waits gets another payload, priority or time; null: as it is. Says
-- whether it waits. Against a claim in flight it is decided when that has ended.
create function :"schema".edit(
  id bigint,
  payload jsonb default null,
  priority int default null,
  run_at timestamptz default null,
  delay_ms float8 default null
) returns boolean
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
declare
  moment timestamptz := coalesce(edit.run_at, clock_timestamp() + edit.delay_ms * interval '1 ms');
begin
  if edit.run_at is not null and edit.delay_ms is not null then
    raise invalid_parameter_value using message = 'edit takes run_at or delay_ms, not both';
  end if;
  if moment is null then
    update job
    set payload = coalesce(edit.payload, job.payload),
      priority = coalesce(edit.priority, job.priority)
    where job.id = edit.id
      and job.state in ('ready', 'scheduled');
  else
    update job
    set payload = coalesce(edit.payload, job.payload),
      priority = coalesce(edit.priority, job.priority),
      -- One that is due ahead becomes scheduled by its trigger.
      state = 'ready',
      run_at = moment
    where job.id = edit.id
      and job.state in ('ready', 'scheduled');
  end if;
  return found;
end
$$;

-- select bugle.discard_many('{17,18}'): deletes jobs that wait, have failed, or are in the archive. Says how many. One
-- that runs stays: cancel it first. states: as of cancel_many, and 'archived'.
create function :"schema".discard_many(ids bigint[], states text[] default null) returns bigint
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
declare
  discarded bigint;
  archived bigint;
begin
  -- Read again once locked: one that was claimed meanwhile is left, and one that a filter does not name any more.
  with held as materialized (
    select id
    from job
    where id = any (ids)
      and state <> 'running'
      and (states is null or state = any (states))
    order by id
    for update
  )
  delete from job
  where id = any (array(select id from held));
  get diagnostics discarded = row_count;

  with held as materialized (
    select id
    from archive
    where id = any (ids)
      and (states is null or 'archived' = any (states))
    order by id
    for update
  )
  delete from archive
  where id = any (array(select id from held));
  get diagnostics archived = row_count;
  return discarded + archived;
end
$$;

-- select bugle.discard(17): whether that deleted it.
create function :"schema".discard(id bigint) returns boolean
language sql
set search_path = pg_catalog, :"schema", pg_temp
as $$
  select discard_many(array[discard.id]) > 0
$$;

-- select bugle.pause('emails'): no claim of that queue begins after this has committed, in any process, until it is
-- resumed. Jobs that run go on. Says whether that changed anything.
create function :"schema".pause(queue text) returns boolean
language sql
set search_path = pg_catalog, :"schema", pg_temp
as $$
  with paused as (
    insert into queue (name, paused_at)
    values (pause.queue, clock_timestamp())
    on conflict (name) do update
    set paused_at = excluded.paused_at
    where queue.paused_at is null
    returning name
  )
  select exists (select from paused)
$$;

-- select bugle.resume('emails'): its consumers are woken. Says whether it was paused.
create function :"schema".resume(queue text) returns boolean
language sql
set search_path = pg_catalog, :"schema", pg_temp
as $$
  with resumed as (
    update queue
    set paused_at = null
    where name = resume.queue
      and paused_at is not null
    returning name
  )
  select exists (select from resumed)
$$;

-- As in 0001: who may call these says sql/grants.
revoke all on function
  :"schema".requeue_many(bigint[]),
  :"schema".requeue(bigint),
  :"schema".cancel(bigint),
  :"schema".cancel_many(bigint[], text[]),
  :"schema".edit(bigint, jsonb, int, timestamptz, float8),
  :"schema".discard_many(bigint[], text[]),
  :"schema".discard(bigint),
  :"schema".pause(text),
  :"schema".resume(text)
from public;
