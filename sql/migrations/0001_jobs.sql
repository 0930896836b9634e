-- 0001_jobs: the tables, their triggers and bugle.put
--
-- :"schema" is the quoted schema name. Function bodies are string literals, which neither psql nor we fill in:
-- they find their tables by the search_path fixed on each function.

create table :"schema".migration (
  number int primary key,
  name text not null,
  applied_at timestamptz not null default now()
);

-- One row per process that consumes. Leases name it; a claim runs only while it exists.
create table :"schema".worker (
  id bigint primary key,                              -- random 63 bits: never handed out twice, also after a failover
  name text not null,
  host text not null,
  pid int not null,
  version text not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),         -- its last heartbeat; compared for change only, never subtracted
  -- How long others must have seen nothing of it before they take its jobs, and how long a held presence lock counts
  -- without heartbeats. Its own word: workers may be set up differently, and one without the lock is given more time.
  rescue_after_ms int not null default 60000,
  hung_after_ms int not null default 300000,
  -- What it consumes: [{ queue, concurrency, kinds (null: any), isPaused }, ...]. Operators read it; no statement does.
  consumers jsonb not null default '[]',
  -- Queues on which it has, or had, an express lane. Written before the first claim of the lane (worker_lane.sql).
  lanes text[] not null default '{}'
);

-- What a column may hold, as domains and not as checks of the table: a session reads a domain's rule once, but a
-- table's checks from their stored text with every statement, and it tests them for every row that is updated, whatever
-- was changed. Each domain still costs an insert 2 to 4 % of its time on the server, also where the column is left out,
-- and each check as much or more. So only names and states have rules; whatever else a writer may have set is harmless:
-- the statements take numbers and times from within bounds (test/scenarios/put/lean-rows.test.ts).
-- "C": compared by bytes, so no index depends on the system's locale.
create domain :"schema".queue_name as text collate "C" check (char_length(value) between 1 and 128);
-- Bounded, as keys are, so that each fits into an index's row.
create domain :"schema".job_kind as text collate "C" check (char_length(value) between 1 and 128);
create domain :"schema".job_key as text collate "C" check (char_length(value) between 1 and 255);
create domain :"schema".job_state as text collate "C" check (value in ('scheduled', 'ready', 'running', 'failed'));

-- What is persisted of a queue; a queue needs no row here to be used.
create table :"schema".queue (
  name :"schema".queue_name primary key,
  paused_at timestamptz,
  -- No express lane claims from it until then: a worker that had one has died. Here and not at the worker, whose row is
  -- gone. No trigger looks at it: nobody needs to be woken.
  calm_until timestamptz,
  calm_ms int                                         -- for how long it was made calm the last time
);

create table :"schema".job (
  id bigint generated always as identity primary key,
  queue :"schema".queue_name not null,
  kind :"schema".job_kind,
  payload jsonb not null default 'null',
  state :"schema".job_state not null default 'ready',
  priority smallint not null default 0,               -- higher first
  run_at timestamptz not null default now(),          -- may run from then on
  attempt int not null default 0,                     -- counted runs; given back when a run is interrupted or released
  lease bigint not null default 0,                    -- the fence: grows by a random step with each claim, never reset
  crashes smallint not null default 0,                -- runs that ended because their process died
  -- Who runs it. No foreign key: a burial must not wait for the rows that it orphans. No check that a running row has
  -- one: it would cost each insert a tenth of its time, and statements/rescue.sql gives those without one back.
  worker_id bigint,
  claimed_at timestamptz,
  created_at timestamptz not null default now(),
  finished_at timestamptz,                            -- when it failed: what collecting old failures goes by
  key :"schema".job_key,                              -- at most one job of a queue has it: while it waits, or as
  -- this says: 'running': until it is over; null, and all else: 'waiting'. No domain: of one that an insert leaves out
  -- the null is checked too, which cost each plain insert 1 us.
  key_while text collate "C",
  flags text[],                                       -- no domain: drivers would not know it for an array
  max_attempts int,                                   -- null: the consumer's retry strategy decides
  timeout_ms int,                                     -- null: the consumer's
  cancel_requested_at timestamptz,
  progress jsonb,
  last_error jsonb,                                   -- of the last failed run: { name, message, stack, cause, ... }
  former_errors jsonb                                 -- of up to 8 failed runs before that, in short; null: none
);

-- What a claim reads: ready rows in the very order of claiming, so that it neither sorts nor walks over others.
create index job_ready on :"schema".job (queue, priority desc, id) where state = 'ready';

-- The same for consumers that serve some kinds only: jobs of others, left in the queue in any number, cost them
-- nothing. Rows without a kind are not in it.
create index job_kind on :"schema".job (queue, kind, priority desc, id) where state = 'ready' and kind is not null;

-- What the due timer and the promotion read: the nearest run_at of a queue.
create index job_due on :"schema".job (queue, run_at) where state = 'scheduled';

-- What a worker owns: for the heartbeat's comparison and for rescue. Costs a fifth more WAL a job,
-- and makes that look-up in a million rows 0.14 ms instead of 70.
create index job_running on :"schema".job (worker_id) where state = 'running';

-- Failed jobs by age: for listing and collecting. Written only when a job fails.
create index job_failed on :"schema".job (finished_at, id) where state = 'failed';

-- One job a key, as long as each says that it has it: while it waits, or until it is over (src/put/keys.ts). Rows
-- without a key are not in it, and are tested for no more than that. But each statement that writes a row prepares the
-- whole predicate: its last part costs a plain put 1.5 us of 110, a claim of 50 jobs nothing that could be measured.
create unique index job_key on :"schema".job (queue, key)
where key is not null and (state in ('ready', 'scheduled') or state = key_while);

-- Every row dies young here: it is inserted, updated once and deleted within moments. Vacuum therefore comes after a
-- number of dead rows and not after a fraction of the table, and works without pauses: dead rows that are
-- not yet vacuumed are walked over by claims.
-- vacuum_truncate off: giving the empty tail of the file back takes an ACCESS EXCLUSIVE lock, in front of which claims
-- queue up, and the space is wanted again at once.
-- fillfactor stays 100: claim and settle change `state`, which partial indexes name, so no update can be HOT.
alter table :"schema".job set (
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.1,
  autovacuum_analyze_scale_factor = 0.1,
  vacuum_truncate = off,
  toast.autovacuum_vacuum_scale_factor = 0.01,
  toast.autovacuum_vacuum_threshold = 2000,
  toast.autovacuum_vacuum_cost_delay = 0,
  toast.vacuum_truncate = off
);

-- Acked jobs of consumers with keep: 'all'. Append-only until it is collected. Its columns have the very types of job's
-- columns: only then is a union of the two planned by their indexes (statements/jobs_find.sql).
create table :"schema".archive (
  id bigint primary key,
  queue :"schema".queue_name not null,
  kind :"schema".job_kind,
  payload jsonb not null,
  priority smallint not null,
  run_at timestamptz not null,
  attempt int not null,
  lease bigint not null,                              -- kept, so that a requeued job's lease goes on growing
  crashes smallint not null,
  worker_id bigint,
  claimed_at timestamptz,
  created_at timestamptz not null,
  finished_at timestamptz not null default now(),
  key :"schema".job_key,
  key_while text collate "C",
  flags text[],
  max_attempts int,
  timeout_ms int,
  progress jsonb,
  result jsonb,
  expires_at timestamptz                              -- of consumers that keep acked jobs for a time: until then
);
create index archive_finished on :"schema".archive (finished_at, id);

-- What collecting goes by. Rows that are kept without a time are not in it.
create index archive_expires on :"schema".archive (expires_at) where expires_at is not null;

-- Keys that are taken for a time, whatever has become of their jobs (`forMs` of put). Written by such puts only, and
-- deleted some time after they are over.
create table :"schema".taken_key (
  queue :"schema".queue_name not null,
  key :"schema".job_key not null,
  job_id bigint not null,                             -- put under it; no foreign key: it may be gone
  until timestamptz not null,
  primary key (queue, key)
);
create index taken_key_until on :"schema".taken_key (until);

-- Triggers: what stands in WHEN is read from its stored text with every statement that changes the table, and tested
-- for every row, without PL/pgSQL. So WHEN says only as much as keeps most rows from calling a function; the function
-- says the rest.

-- A row due ahead is scheduled, whoever writes it: the library, psql, COPY, a role that may set neither the state nor
-- change a row. It is made so before it is stored, so that a scheduled job is written once, nobody ever sees it ready,
-- and RETURNING says what it is. Making it so after the insert would spare a plain put the call of this function, which
-- could not be measured beside its commit; but a put ahead took 1.5 times as long, and one of a hundred rows 7 times.
-- At the insert without WHEN, and without settings of its own, as the function wake() below, which says why; hence
-- the full names. With WHEN it took 6 % of an insert's time on the server, so it takes 3.
create function :"schema".schedule() returns trigger
language plpgsql
as $$
begin
  if new.run_at operator(pg_catalog.>) pg_catalog.clock_timestamp() and new.state operator(pg_catalog.=) 'ready' then
    new.state := 'scheduled';
  end if;
  return new;
end
$$;

create trigger job_schedule before insert on :"schema".job
for each row execute function :"schema".schedule();

-- Updates of run_at only, here and below: a claim does not touch it, and need not have its rows looked at by triggers
-- that come before it. Whatever sends a job back to the queue sets it.
create trigger job_schedule_again before update of run_at on :"schema".job
for each row when (new.run_at > clock_timestamp())
execute function :"schema".schedule();

-- A job that goes back to the queue while another has its key goes back without it: one conflict must not fail a batch
-- of outcomes, a rescue or a requeue. One that would have its key until it is over has never let go of it while it ran;
-- it is a failed one that somebody requeues, and it stays failed: without its key it might run beside the other. (A
-- trigger that returns null passes the row over.) Volatile, so it sees what the same command has done to rows before
-- this one. What it cannot see, a put that has not committed, ends in a unique violation: sent again, the command sees
-- it.
create function :"schema".free_key() returns trigger
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
begin
  if new.state in ('ready', 'scheduled') and old.state not in ('ready', 'scheduled') and exists (
    select
    from job
    where queue = new.queue
      and key = new.key
      and (state in ('ready', 'scheduled') or state = key_while)
      and id <> new.id
  ) then
    if new.key_while = 'running' then
      return null;
    end if;
    new.key := null;
  end if;
  return new;
end
$$;

create trigger job_free_key before update of run_at on :"schema".job
for each row when (new.key is not null)
execute function :"schema".free_key();

-- The sleep protocol's test, made by writers: does some consumer of this queue sleep, that is, hold K shared?
-- K is the advisory lock (oid of this table, hashtext(queue)). If the writer gets it exclusively, nobody sleeps: the
-- writer gives it back at once and stays silent. One expression, so that a cancel cannot come between taking K and
-- giving it back.
-- A row due within a minute is announced like a ready one, so that sleepers set their timers by it; they look for those
-- that are due later themselves, every half minute (src/consume/claim/due.ts).
-- The notification's channel is named after this table's oid (statements/channel.sql says the same to listeners). The
-- payload is the queue and nothing else, so that the rows of one transaction fold into one notification.
-- A wake-up never fails a write. While the server's queue of notifications is half full, since some session listens
-- and does not read, nobody is notified, here and in every other trigger: at 100 % each commit that notifies fails. The
-- loop-back ping (statements/ping.sql) goes by the same rule, so listeners know that they hear nothing, and sweeps find
-- the jobs within a second. It is asked for only where somebody sleeps. What others add between this test and the
-- commit, however long that takes, finds the other half free (by default 4 GB).
-- bugle.notified says for which queue this transaction has notified last: one notification announces all its rows, so
-- the rows of a bulk insert neither notify again nor ask again. The setting is local: it ends with the transaction, and
-- with a savepoint that is rolled back, as the notification does. (Measured in a bulk insert beside a sleeper: 9 us a
-- row instead of 17.)
-- No WHEN, and no setting of its own for the function: this runs with every insert, and there WHEN cost 13 us of an
-- insert's 66 (its text is read with every statement), the same test in here 2. Hence the full names, of operators too:
-- otherwise a function or operator that somebody made in a schema of the writer's search_path would run here, with the
-- writer's rights.
create function :"schema".wake() returns trigger
language plpgsql
as $$
begin
  if (case
    when new.state operator(pg_catalog.<>) 'ready'
      and (
        new.state operator(pg_catalog.<>) 'scheduled'
        or new.run_at operator(pg_catalog.>) (pg_catalog.clock_timestamp() operator(pg_catalog.+) interval '1 min')
      ) then false
    when pg_catalog.pg_try_advisory_lock(tg_relid::int, pg_catalog.hashtext(new.queue))
      then not pg_catalog.pg_advisory_unlock(tg_relid::int, pg_catalog.hashtext(new.queue))
    else
      -- Not IS DISTINCT FROM: that takes whatever `=` the search_path has.
      coalesce(pg_catalog.current_setting('bugle.notified', true), '')
      operator(pg_catalog.<>) pg_catalog.concat(tg_relid, ' ', new.queue)
  end) then
    perform
      pg_catalog.pg_notify(pg_catalog.concat('bugle_', tg_relid), new.queue),
      pg_catalog.set_config('bugle.notified', pg_catalog.concat(tg_relid, ' ', new.queue), true)
    where pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<) 0.5;
  end if;
  return null;
end
$$;

create trigger job_wake_insert after insert on :"schema".job
for each row execute function :"schema".wake();

-- Retry, release, requeue, promotion and rescue make a row wait by an update, and wake like a put. So does a change
-- that lets another consumer have the row, or any consumer sooner. It is the same test, again in one expression. Most
-- updates are those of claims, and they end at the WHEN.
-- A job that fails tells those who wait for its result, if there are any: statements/result_locks.sql says how they are
-- known.
create function :"schema".wake_again() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  archive int;
begin
  if new.state = 'failed' then
    if old.state <> 'failed' then
      archive := format('%I.archive', tg_table_schema)::regclass::oid::int;
      if (case
        when pg_try_advisory_lock(archive, 1 + (new.id & 63)::int)
          then not pg_advisory_unlock(archive, 1 + (new.id & 63)::int)
        else true
      end) then
        perform pg_notify(concat('bugle_', tg_relid, '_result'), new.id::text)
        where pg_notification_queue_usage() < 0.5;
      end if;
    end if;
    return null;
  end if;
  if (case
    when new.state <> 'ready'
      and (new.state <> 'scheduled' or new.run_at > clock_timestamp() + interval '1 min') then false
    when old.state = new.state
      and old.queue = new.queue
      and old.kind is not distinct from new.kind
      and old.flags is not distinct from new.flags
      and (new.state = 'ready' or old.run_at <= new.run_at) then false
    when pg_try_advisory_lock(new.tableoid::int, hashtext(new.queue))
      then not pg_advisory_unlock(new.tableoid::int, hashtext(new.queue))
    else current_setting('bugle.notified', true) is distinct from concat(tg_relid, ' ', new.queue)
  end) then
    perform
      pg_notify('bugle_' || tg_relid, new.queue),
      set_config('bugle.notified', concat(tg_relid, ' ', new.queue), true)
    where pg_notification_queue_usage() < 0.5;
  end if;
  return null;
end
$$;

create trigger job_wake_update after update of state, queue, kind, flags, run_at on :"schema".job
for each row when (new.state <> 'running')
execute function :"schema".wake_again();

-- A queue that is resumed wakes all its consumers, like a job. That it is paused, each claim reads for itself.
-- Those that sleep hold no K while their queue is paused, so this one notifies always.
create function :"schema".wake_queue() returns trigger
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
begin
  perform pg_notify('bugle_' || 'job'::regclass::oid, old.name)
  where pg_notification_queue_usage() < 0.5;
  return null;
end
$$;

create trigger queue_resume after update of paused_at on :"schema".queue
for each row when (old.paused_at is not null and new.paused_at is null)
execute function :"schema".wake_queue();

create trigger queue_delete after delete on :"schema".queue
for each row when (old.paused_at is not null)
execute function :"schema".wake_queue();

-- When the cancel of a running job is requested, its worker is notified, no matter who asked. statements/channel.sql
-- names the channel too.
create function :"schema".tell_cancel() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.state = 'running' and old.cancel_requested_at is null then
    perform pg_notify('bugle_' || tg_relid || '_cancel', new.worker_id || ' ' || new.id)
    where pg_notification_queue_usage() < 0.5;
  end if;
  return null;
end
$$;

create trigger job_cancel after update of cancel_requested_at on :"schema".job
for each row when (new.cancel_requested_at is not null)
execute function :"schema".tell_cancel();

-- The errors of a job's runs before the last one, of which `last` becomes one: the last 8 of them, without causes and
-- with the beginning of their stacks, so that a row stays small. A row that others wrote may hold anything there.
create function :"schema".remember_error(former jsonb, last jsonb) returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when last is null then former
    else
      case
        when jsonb_typeof(former) is distinct from 'array' then '[]'
        when jsonb_array_length(former) >= 8 then former - 0
        else former
      end
      || jsonb_build_array(
        case jsonb_typeof(last)
          when 'object' then jsonb_strip_nulls(jsonb_build_object(
            'name', left(last ->> 'name', 200),
            'message', left(last ->> 'message', 1000),
            'code', left(last ->> 'code', 100),
            'stack', left(last ->> 'stack', 1000),
            'failedBy', last -> 'failedBy',
            'attempt', last -> 'attempt'
          ))
          else '{}'
        end
      )
  end
$$;

-- Keyed puts (statements/put_keyed.sql): the only function with its owner's rights (SECURITY DEFINER). As plain
-- statements they would ask for SELECT and UPDATE on columns of job, and a role that may only put could read and change
-- jobs that are not its own. Its text is fixed, so is its search_path, in which nobody but the schema's owner may
-- create anything; and it does no more than a put does.
-- jobs: as statements/put_keyed.sql has them. mode: what to do about a key that another job has:
--   'keep': that job stays as it is, and its id is the answer. If it waits, it is locked until the transaction's end:
--     it does not run before what is written with the put is committed, so it sees that;
--   'replace': a job that waits becomes what is put, under its id, and is locked likewise. To one that runs, or has run
--     within its time (key_for_ms), this is a 'reject';
--   'reject': nothing is put. strict: that is a unique violation of "job_key_taken", which is no index; otherwise the
--     job is no row of the answer, and the transaction goes on.
-- Any other conflict, of ids or of an index that the application has made, is an error. Why it is never two: the
-- argument is in src/put/keys.ts.
create function :"schema".put_keyed(queue text, jobs json, mode text, strict boolean)
returns table (id bigint, key text)
language plpgsql
security definer
set search_path = pg_catalog, :"schema", pg_temp
as $$
#variable_conflict use_column
declare
  given record;
  -- Of the job that was put, or of the one that has its key.
  new_id bigint;
  held_id bigint;
  holder_waits boolean;
begin
  if mode is null or mode not in ('keep', 'replace', 'reject') then
    raise invalid_parameter_value using message = format('key_mode must be keep, replace or reject; got %s', mode);
  end if;
  for given in
    select *
    from json_to_recordset(put_keyed.jobs) as jobs (
      payload jsonb,
      priority smallint,
      kind text,
      run_at float8,
      delay_ms float8,
      key text,
      key_while text,
      key_for_ms float8,
      flags text[],
      max_attempts int,
      timeout_ms int
    )
  loop
    if given.key_while not in ('waiting', 'running') then
      raise invalid_parameter_value using
        message = format('key_while must be waiting or running; got %s', given.key_while);
    end if;
    loop
      new_id := null;
      held_id := null;
      if given.key_for_ms is not null then
        select taken.job_id
        into held_id
        from taken_key as taken
        where taken.queue = put_keyed.queue
          and taken.key = given.key
          and taken.until > clock_timestamp();
      end if;

      if held_id is not null then
        holder_waits := exists (
          select
          from job as holder
          where holder.id = held_id
            and holder.key = given.key
            and holder.state in ('ready', 'scheduled')
        );
      else
        insert into job as added (
          queue, payload, priority, kind, run_at, key, key_while, flags, max_attempts, timeout_ms
        )
        values (
          put_keyed.queue,
          -- A JSON null arrives as an SQL null.
          coalesce(given.payload, 'null'),
          coalesce(given.priority, 0),
          given.kind,
          coalesce(to_timestamp(given.run_at / 1000), clock_timestamp() + given.delay_ms * interval '1 ms', now()),
          given.key,
          nullif(given.key_while, 'waiting'),
          given.flags,
          given.max_attempts,
          given.timeout_ms
        )
        on conflict (queue, key) where key is not null and (state in ('ready', 'scheduled') or state = key_while)
        do nothing
        returning added.id into new_id;

        if new_id is not null then
          exit when given.key_for_ms is null;
          insert into taken_key as taken (queue, key, job_id, until)
          values (
            put_keyed.queue,
            given.key,
            new_id,
            clock_timestamp() + given.key_for_ms * interval '1 ms'
          )
          on conflict (queue, key) do update
          set job_id = excluded.job_id,
            until = excluded.until
          where taken.until <= clock_timestamp();
          exit when found;
          -- Between the look and the insert another has put its job, which is over already.
          delete from job where job.id = new_id;
          continue;
        end if;

        select holder.id, holder.state <> 'running'
        into held_id, holder_waits
        from job as holder
        where holder.queue = put_keyed.queue
          and holder.key = given.key
          and (holder.state in ('ready', 'scheduled') or holder.state = holder.key_while);
        -- It has let go of the key meanwhile.
        continue when held_id is null;
      end if;

      if mode = 'reject' or (mode = 'replace' and not holder_waits) then
        if strict then
          raise unique_violation using
            message = format('job %s has the key already (job_key_taken)', held_id),
            constraint = 'job_key_taken';
        end if;
        held_id := null;
        exit;
      end if;

      exit when not holder_waits;
      if mode = 'keep' then
        perform
        from job as holder
        where holder.id = held_id
          and holder.key = given.key
          and holder.state in ('ready', 'scheduled')
        for no key update;
      else
        update job
        set payload = coalesce(given.payload, 'null'),
          priority = coalesce(given.priority, 0),
          kind = given.kind,
          -- One that is due ahead becomes scheduled by its trigger.
          state = 'ready',
          run_at = coalesce(
            to_timestamp(given.run_at / 1000),
            clock_timestamp() + given.delay_ms * interval '1 ms',
            now()
          ),
          key_while = nullif(given.key_while, 'waiting'),
          flags = given.flags,
          max_attempts = given.max_attempts,
          timeout_ms = given.timeout_ms,
          -- It is another job now, and has all its attempts.
          attempt = 0,
          claimed_at = null,
          crashes = 0,
          progress = null,
          last_error = null,
          former_errors = null
        where job.id = held_id
          and job.key = given.key
          and job.state in ('ready', 'scheduled');
        if found and given.key_for_ms is not null then
          -- The time counts from this put on.
          insert into taken_key as taken (queue, key, job_id, until)
          values (
            put_keyed.queue,
            given.key,
            held_id,
            clock_timestamp() + given.key_for_ms * interval '1 ms'
          )
          on conflict (queue, key) do update
          set job_id = excluded.job_id,
            until = greatest(taken.until, excluded.until)
          where taken.job_id = excluded.job_id
            or taken.until <= clock_timestamp();
          exit;
        end if;
      end if;
      -- Otherwise it has begun meanwhile.
      exit when found;
    end loop;

    if new_id is not null or held_id is not null then
      id := coalesce(new_id, held_id);
      key := given.key;
      return next;
    end if;
  end loop;
end
$$;

-- select bugle.put('emails', '{"to": "a@example.org"}', key => 'a', delay_ms => 60000): from psql, a trigger, or any
-- language, with all that put() takes. Its answer is the id of the job; where another has the key, that one's id, or a
-- unique violation, as put_keyed says.
create function :"schema".put(
  queue text,
  payload jsonb default 'null',
  priority int default 0,
  kind text default null,
  run_at timestamptz default null,
  delay_ms float8 default null,
  key text default null,
  key_mode text default 'keep',
  key_while text default 'waiting',
  key_for_ms float8 default null,
  flags text[] default null,
  max_attempts int default null,
  timeout_ms int default null
) returns bigint
language plpgsql
set search_path = pg_catalog, :"schema", pg_temp
as $$
declare
  put_id bigint;
begin
  if put.run_at is not null and put.delay_ms is not null then
    raise invalid_parameter_value using message = 'put takes run_at or delay_ms, not both';
  end if;
  if least(put.max_attempts, put.timeout_ms) < 1 or array_position(put.flags, null) is not null then
    raise invalid_parameter_value using
      message = 'put takes max_attempts and timeout_ms from 1 up, and flags without a null';
  end if;
  if put.key is null and (put.key_mode, put.key_while) is distinct from ('keep', 'waiting')
    or put.key is null and put.key_for_ms is not null
  then
    raise invalid_parameter_value using message = 'put takes key_mode, key_while and key_for_ms with a key only';
  end if;
  if put.key is not null then
    select keyed.id
    into put_id
    from put_keyed(
      put.queue,
      json_build_array(json_build_object(
        'payload', put.payload,
        'priority', put.priority,
        'kind', put.kind,
        'run_at', date_part('epoch', put.run_at) * 1000,
        'delay_ms', put.delay_ms,
        'key', put.key,
        'key_while', put.key_while,
        'key_for_ms', put.key_for_ms,
        'flags', put.flags,
        'max_attempts', put.max_attempts,
        'timeout_ms', put.timeout_ms
      )),
      put.key_mode,
      true
    ) as keyed;
    return put_id;
  end if;
  insert into job (queue, payload, priority, kind, run_at, flags, max_attempts, timeout_ms)
  values (
    put.queue,
    coalesce(put.payload, 'null'),
    put.priority,
    put.kind,
    coalesce(put.run_at, clock_timestamp() + put.delay_ms * interval '1 ms', now()),
    put.flags,
    put.max_attempts,
    put.timeout_ms
  )
  returning job.id into put_id;
  return put_id;
end
$$;

-- PostgreSQL lets everybody call a new function. Who may call these: sql/grants.
revoke all on function
  :"schema".put(
    text, jsonb, int, text, timestamptz, float8, text, text, text, float8, text[], int, int
  ),
  :"schema".put_keyed(text, json, text, boolean),
  :"schema".remember_error(jsonb, jsonb)
from public;
