-- 0002_functions: what an operator does to jobs, for psql and every language
--
-- As in 0001, function bodies find their tables by the search_path fixed on each function.

-- select bugle.requeue_many('{17,18}'): failed and archived jobs become ready again, under their ids. Says how many.
-- Several calls at once make one job of each: the second call waits for the row's lock, and finds the row ready, or
-- gone. Not a second `requeue`: of two, PostgreSQL could not tell which one a parameter without a type is meant for.
create function :"schema".requeue_many(ids bigint[]) returns bigint
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
declare
  requeued bigint;
begin
  -- Archived jobs come back as failed jobs first, since no key has to be unique among those. The lease goes along: it
  -- must go on growing. Locked in the order of ids, here and below: two calls that share ids wait for each other and
  -- not in a circle.
  with held as materialized (
    select id
    from archive
    where id = any (ids)
      -- Somebody has put the row back by hand: then that one is the job.
      and not exists (select from job where job.id = archive.id)
    order by id
    for update
  ),
  moved as (
    delete from archive
    where id = any (array(select id from held))
    returning *
  )
  insert into job (
    id, queue, kind, payload, state, priority, lease, created_at, key, flags, max_attempts, timeout_ms, progress
  )
  overriding system value
  select
    id, queue, kind, payload, 'failed', priority, lease, created_at, key, flags, max_attempts, timeout_ms, progress
  from moved;

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
        last_error = null
      where id = any (array(select id from held));
      get diagnostics requeued = row_count;
      return requeued;
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
  :"schema".pause(text),
  :"schema".resume(text)
from public;
