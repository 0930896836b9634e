-- The schema at step 2, from the catalogs.

-- domains
job_key text C CHECK (((char_length(VALUE) >= 1) AND (char_length(VALUE) <= 255)))
job_kind text C CHECK (((char_length(VALUE) >= 1) AND (char_length(VALUE) <= 128)))
job_state text C CHECK ((VALUE = ANY (ARRAY['scheduled'::text, 'ready'::text, 'running'::text, 'failed'::text])))
queue_name text C CHECK (((char_length(VALUE) >= 1) AND (char_length(VALUE) <= 128)))

-- relations
sequence job_id_seq
table archive
table job with (autovacuum_analyze_scale_factor=0.1, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_scale_factor=0.1, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=2000, toast.autovacuum_vacuum_cost_delay=0, toast.autovacuum_vacuum_scale_factor=0.01, toast.autovacuum_vacuum_threshold=2000, toast.vacuum_truncate=off, vacuum_truncate=off)
table migration
table queue
table taken_key
table worker

-- columns
archive.id bigint not null
archive.queue bugle.queue_name not null
archive.kind bugle.job_kind
archive.payload jsonb not null
archive.priority smallint not null
archive.run_at timestamp with time zone not null
archive.attempt integer not null
archive.lease bigint not null
archive.crashes smallint not null
archive.worker_id bigint
archive.claimed_at timestamp with time zone
archive.created_at timestamp with time zone not null
archive.finished_at timestamp with time zone not null default now()
archive.key bugle.job_key
archive.key_while text collate "C"
archive.flags text[]
archive.max_attempts integer
archive.timeout_ms integer
archive.progress jsonb
archive.result jsonb
archive.expires_at timestamp with time zone
job.id bigint not null generated always as identity
job.queue bugle.queue_name not null
job.kind bugle.job_kind
job.payload jsonb not null default 'null'::jsonb
job.state bugle.job_state not null default 'ready'::text
job.priority smallint not null default 0
job.run_at timestamp with time zone not null default now()
job.attempt integer not null default 0
job.lease bigint not null default 0
job.crashes smallint not null default 0
job.worker_id bigint
job.claimed_at timestamp with time zone
job.created_at timestamp with time zone not null default now()
job.finished_at timestamp with time zone
job.key bugle.job_key
job.key_while text collate "C"
job.flags text[]
job.max_attempts integer
job.timeout_ms integer
job.cancel_requested_at timestamp with time zone
job.progress jsonb
job.last_error jsonb
job.former_errors jsonb
migration.number integer not null
migration.name text not null
migration.applied_at timestamp with time zone not null default now()
queue.name bugle.queue_name not null
queue.paused_at timestamp with time zone
queue.calm_until timestamp with time zone
queue.calm_ms integer
taken_key.queue bugle.queue_name not null
taken_key.key bugle.job_key not null
taken_key.job_id bigint not null
taken_key.until timestamp with time zone not null
worker.id bigint not null
worker.name text not null
worker.host text not null
worker.pid integer not null
worker.version text not null
worker.started_at timestamp with time zone not null default now()
worker.seen_at timestamp with time zone not null default now()
worker.rescue_after_ms integer not null default 60000
worker.hung_after_ms integer not null default 300000
worker.consumers jsonb not null default '[]'::jsonb
worker.lanes text[] not null default '{}'::text[]

-- constraints
bugle.archive archive_pkey: PRIMARY KEY (id)
bugle.job job_pkey: PRIMARY KEY (id)
bugle.migration migration_pkey: PRIMARY KEY (number)
bugle.queue queue_pkey: PRIMARY KEY (name)
bugle.taken_key taken_key_pkey: PRIMARY KEY (queue, key)
bugle.worker worker_pkey: PRIMARY KEY (id)
- job_key_check: CHECK (((char_length(VALUE) >= 1) AND (char_length(VALUE) <= 255)))
- job_kind_check: CHECK (((char_length(VALUE) >= 1) AND (char_length(VALUE) <= 128)))
- job_state_check: CHECK ((VALUE = ANY (ARRAY['scheduled'::text, 'ready'::text, 'running'::text, 'failed'::text])))
- queue_name_check: CHECK (((char_length(VALUE) >= 1) AND (char_length(VALUE) <= 128)))

-- indexes
CREATE INDEX archive_expires ON bugle.archive USING btree (expires_at) WHERE (expires_at IS NOT NULL)
CREATE INDEX archive_finished ON bugle.archive USING btree (finished_at, id)
CREATE UNIQUE INDEX archive_pkey ON bugle.archive USING btree (id)
CREATE INDEX job_due ON bugle.job USING btree (queue, run_at) WHERE ((state)::text = 'scheduled'::text)
CREATE INDEX job_failed ON bugle.job USING btree (finished_at, id) WHERE ((state)::text = 'failed'::text)
CREATE UNIQUE INDEX job_key ON bugle.job USING btree (queue, key) WHERE ((key IS NOT NULL) AND (((state)::text = ANY (ARRAY['ready'::text, 'scheduled'::text])) OR ((state)::text = key_while)))
CREATE INDEX job_kind ON bugle.job USING btree (queue, kind, priority DESC, id) WHERE (((state)::text = 'ready'::text) AND (kind IS NOT NULL))
CREATE UNIQUE INDEX job_pkey ON bugle.job USING btree (id)
CREATE INDEX job_ready ON bugle.job USING btree (queue, priority DESC, id) WHERE ((state)::text = 'ready'::text)
CREATE INDEX job_running ON bugle.job USING btree (worker_id) WHERE ((state)::text = 'running'::text)
CREATE UNIQUE INDEX migration_pkey ON bugle.migration USING btree (number)
CREATE UNIQUE INDEX queue_pkey ON bugle.queue USING btree (name)
CREATE UNIQUE INDEX taken_key_pkey ON bugle.taken_key USING btree (queue, key)
CREATE INDEX taken_key_until ON bugle.taken_key USING btree (until)
CREATE UNIQUE INDEX worker_pkey ON bugle.worker USING btree (id)

-- triggers
CREATE TRIGGER job_cancel AFTER UPDATE OF cancel_requested_at ON bugle.job FOR EACH ROW WHEN ((new.cancel_requested_at IS NOT NULL)) EXECUTE FUNCTION bugle.tell_cancel()
CREATE TRIGGER job_free_key BEFORE UPDATE OF run_at ON bugle.job FOR EACH ROW WHEN ((new.key IS NOT NULL)) EXECUTE FUNCTION bugle.free_key()
CREATE TRIGGER job_schedule BEFORE INSERT ON bugle.job FOR EACH ROW EXECUTE FUNCTION bugle.schedule()
CREATE TRIGGER job_schedule_again BEFORE UPDATE OF run_at ON bugle.job FOR EACH ROW WHEN ((new.run_at > clock_timestamp())) EXECUTE FUNCTION bugle.schedule()
CREATE TRIGGER job_wake_insert AFTER INSERT ON bugle.job FOR EACH ROW EXECUTE FUNCTION bugle.wake()
CREATE TRIGGER job_wake_update AFTER UPDATE OF state, queue, kind, flags, run_at ON bugle.job FOR EACH ROW WHEN (((new.state)::text <> 'running'::text)) EXECUTE FUNCTION bugle.wake_again()
CREATE TRIGGER queue_delete AFTER DELETE ON bugle.queue FOR EACH ROW WHEN ((old.paused_at IS NOT NULL)) EXECUTE FUNCTION bugle.wake_queue()
CREATE TRIGGER queue_resume AFTER UPDATE OF paused_at ON bugle.queue FOR EACH ROW WHEN (((old.paused_at IS NOT NULL) AND (new.paused_at IS NULL))) EXECUTE FUNCTION bugle.wake_queue()

-- functions
function cancel(id bigint) returns text
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
declare
  found_state text;
begin
  select state
  into found_state
  from job
  where job.id = cancel.id
  for no key update;

  if found_state in ('scheduled', 'ready') then
    update job
    set state = 'failed',
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
function cancel_many(ids bigint[], states text[] DEFAULT NULL::text[]) returns bigint
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
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
function discard(id bigint) returns boolean
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  select discard_many(array[discard.id]) > 0
function discard_many(ids bigint[], states text[] DEFAULT NULL::text[]) returns bigint
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
declare
  discarded bigint;
  archived bigint;
begin
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
function edit(id bigint, payload jsonb DEFAULT NULL::jsonb, priority integer DEFAULT NULL::integer, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, delay_ms double precision DEFAULT NULL::double precision) returns boolean
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
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
      state = 'ready',
      run_at = moment
    where job.id = edit.id
      and job.state in ('ready', 'scheduled');
  end if;
  return found;
end
function free_key() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
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
function pause(queue text) returns boolean
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  with paused as (
    insert into queue (name, paused_at)
    values (pause.queue, clock_timestamp())
    on conflict (name) do update
    set paused_at = excluded.paused_at
    where queue.paused_at is null
    returning name
  )
  select exists (select from paused)
function put(queue text, payload jsonb DEFAULT 'null'::jsonb, priority integer DEFAULT 0, kind text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, delay_ms double precision DEFAULT NULL::double precision, key text DEFAULT NULL::text, key_mode text DEFAULT 'keep'::text, key_while text DEFAULT 'waiting'::text, key_for_ms double precision DEFAULT NULL::double precision, flags text[] DEFAULT NULL::text[], max_attempts integer DEFAULT NULL::integer, timeout_ms integer DEFAULT NULL::integer) returns bigint
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
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
function put_keyed(queue text, jobs json, mode text, strict boolean) returns TABLE(id bigint, key text)
language plpgsql volatile parallel u security definer set search_path=pg_catalog, bugle, pg_temp
#variable_conflict use_column
declare
  given record;
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
          delete from job where job.id = new_id;
          continue;
        end if;

        select holder.id, holder.state <> 'running'
        into held_id, holder_waits
        from job as holder
        where holder.queue = put_keyed.queue
          and holder.key = given.key
          and (holder.state in ('ready', 'scheduled') or holder.state = holder.key_while);
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
      exit when found;
    end loop;

    if new_id is not null or held_id is not null then
      id := coalesce(new_id, held_id);
      key := given.key;
      return next;
    end if;
  end loop;
end
function remember_error(former jsonb, last jsonb) returns jsonb
language sql immutable parallel u set search_path=pg_catalog, pg_temp
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
function requeue(id bigint) returns boolean
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  select requeue_many(array[requeue.id]) > 0
function requeue_many(ids bigint[]) returns bigint
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
declare
  requeued bigint;
  requeued_at_once bigint;
begin
  with held as materialized (
    select *
    from archive
    where id = any (ids)
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
        worker_id = null,
        claimed_at = null,
        finished_at = null,
        cancel_requested_at = null,
        last_error = null,
        former_errors = null
      where id = any (array(select id from held));
      get diagnostics requeued = row_count;
      return requeued + requeued_at_once;
    exception when unique_violation then
      if try = 10 then
        raise;
      end if;
    end;
  end loop;
end
function resume(queue text) returns boolean
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  with resumed as (
    update queue
    set paused_at = null
    where name = resume.queue
      and paused_at is not null
    returning name
  )
  select exists (select from resumed)
function schedule() returns trigger
language plpgsql volatile parallel u
begin
  if new.run_at operator(pg_catalog.>) pg_catalog.clock_timestamp() and new.state operator(pg_catalog.=) 'ready' then
    new.state := 'scheduled';
  end if;
  return new;
end
function tell_cancel() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
begin
  if new.state = 'running' and old.cancel_requested_at is null then
    perform pg_notify('bugle_' || tg_relid || '_cancel', new.worker_id || ' ' || new.id)
    where pg_notification_queue_usage() < 0.5;
  end if;
  return null;
end
function wake() returns trigger
language plpgsql volatile parallel u
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
function wake_again() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
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
function wake_queue() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
begin
  perform pg_notify('bugle_' || 'job'::regclass::oid, old.name)
  where pg_notification_queue_usage() < 0.5;
  return null;
end

-- privileges
cancel(): {owner=X/owner}
cancel_many(): {owner=X/owner}
discard(): {owner=X/owner}
discard_many(): {owner=X/owner}
edit(): {owner=X/owner}
pause(): {owner=X/owner}
put(): {owner=X/owner}
put_keyed(): {owner=X/owner}
remember_error(): {owner=X/owner}
requeue(): {owner=X/owner}
requeue_many(): {owner=X/owner}
resume(): {owner=X/owner}
