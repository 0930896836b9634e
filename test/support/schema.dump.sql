-- The schema at step 2, from the catalogs.

-- relations
sequence job_id_seq
table archive
table job with (autovacuum_analyze_scale_factor=0.1, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_scale_factor=0.1, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=2000, toast.autovacuum_vacuum_cost_delay=0, toast.autovacuum_vacuum_scale_factor=0.01, toast.autovacuum_vacuum_threshold=2000, toast.vacuum_truncate=off, vacuum_truncate=off)
table migration
table queue
table worker

-- columns
archive.id bigint not null
archive.queue text collate "C" not null
archive.kind text collate "C"
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
archive.key text collate "C"
archive.flags text[]
archive.max_attempts integer
archive.timeout_ms integer
archive.progress jsonb
archive.result jsonb
job.id bigint not null generated always as identity
job.queue text collate "C" not null
job.kind text collate "C"
job.payload jsonb not null default 'null'::jsonb
job.state text collate "C" not null default 'ready'::text
job.priority smallint not null default 0
job.run_at timestamp with time zone not null default now()
job.attempt integer not null default 0
job.lease bigint not null default 0
job.crashes smallint not null default 0
job.worker_id bigint
job.claimed_at timestamp with time zone
job.created_at timestamp with time zone not null default now()
job.finished_at timestamp with time zone
job.key text collate "C"
job.flags text[]
job.max_attempts integer
job.timeout_ms integer
job.cancel_requested_at timestamp with time zone
job.progress jsonb
job.last_error jsonb
migration.number integer not null
migration.name text not null
migration.applied_at timestamp with time zone not null default now()
queue.name text collate "C" not null
queue.paused_at timestamp with time zone
worker.id bigint not null
worker.name text not null
worker.host text not null
worker.pid integer not null
worker.version text not null
worker.started_at timestamp with time zone not null default now()
worker.seen_at timestamp with time zone not null default now()
worker.rescue_after_ms integer not null default 60000
worker.hung_after_ms integer not null default 300000

-- constraints
bugle.archive archive_pkey: PRIMARY KEY (id)
bugle.job job_limits: CHECK ((((attempt >= 0) AND (attempt <= 1000000000)) AND ((lease >= 0) AND (lease <= '4611686018427387904'::bigint)) AND ((crashes >= 0) AND (crashes <= 32000)) AND (max_attempts > 0) AND (timeout_ms > 0)))
bugle.job job_names: CHECK ((((char_length(kind) >= 1) AND (char_length(kind) <= 128)) AND ((char_length(key) >= 1) AND (char_length(key) <= 255)) AND (array_position(flags, NULL::text) IS NULL)))
bugle.job job_owner: CHECK (((state = 'running'::text) = (worker_id IS NOT NULL)))
bugle.job job_pkey: PRIMARY KEY (id)
bugle.job job_queue_name: CHECK (((char_length(queue) >= 1) AND (char_length(queue) <= 128)))
bugle.job job_state: CHECK ((state = ANY (ARRAY['scheduled'::text, 'ready'::text, 'running'::text, 'failed'::text])))
bugle.job job_times: CHECK ((isfinite(run_at) AND isfinite(created_at)))
bugle.migration migration_pkey: PRIMARY KEY (number)
bugle.queue queue_name: CHECK (((char_length(name) >= 1) AND (char_length(name) <= 128)))
bugle.queue queue_pkey: PRIMARY KEY (name)
bugle.worker worker_pkey: PRIMARY KEY (id)

-- indexes
CREATE INDEX archive_finished ON bugle.archive USING btree (finished_at, id)
CREATE UNIQUE INDEX archive_pkey ON bugle.archive USING btree (id)
CREATE INDEX job_due ON bugle.job USING btree (queue, run_at) WHERE (state = 'scheduled'::text)
CREATE INDEX job_failed ON bugle.job USING btree (finished_at, id) WHERE (state = 'failed'::text)
CREATE UNIQUE INDEX job_key ON bugle.job USING btree (queue, key) WHERE ((key IS NOT NULL) AND (state = ANY (ARRAY['ready'::text, 'scheduled'::text])))
CREATE INDEX job_kind ON bugle.job USING btree (queue, kind, priority DESC, id) WHERE ((state = 'ready'::text) AND (kind IS NOT NULL))
CREATE UNIQUE INDEX job_pkey ON bugle.job USING btree (id)
CREATE INDEX job_ready ON bugle.job USING btree (queue, priority DESC, id) WHERE (state = 'ready'::text)
CREATE INDEX job_running ON bugle.job USING btree (worker_id) WHERE (state = 'running'::text)
CREATE UNIQUE INDEX migration_pkey ON bugle.migration USING btree (number)
CREATE UNIQUE INDEX queue_pkey ON bugle.queue USING btree (name)
CREATE UNIQUE INDEX worker_pkey ON bugle.worker USING btree (id)

-- triggers
CREATE TRIGGER job_cancel AFTER UPDATE OF cancel_requested_at ON bugle.job FOR EACH ROW WHEN (((new.state = 'running'::text) AND (old.cancel_requested_at IS NULL) AND (new.cancel_requested_at IS NOT NULL))) EXECUTE FUNCTION bugle.tell_cancel()
CREATE TRIGGER job_free_key BEFORE UPDATE OF run_at ON bugle.job FOR EACH ROW WHEN (((new.key IS NOT NULL) AND (new.state = ANY (ARRAY['ready'::text, 'scheduled'::text])) AND (old.state <> ALL (ARRAY['ready'::text, 'scheduled'::text])))) EXECUTE FUNCTION bugle.free_key()
CREATE TRIGGER job_schedule BEFORE INSERT OR UPDATE OF run_at ON bugle.job FOR EACH ROW WHEN (((new.state = 'ready'::text) AND (new.run_at > clock_timestamp()))) EXECUTE FUNCTION bugle.schedule()
CREATE TRIGGER job_wake_insert AFTER INSERT ON bugle.job FOR EACH ROW WHEN (
        CASE
            WHEN ((new.state <> 'ready'::text) AND ((new.state <> 'scheduled'::text) OR (new.run_at > (clock_timestamp() + '00:01:00'::interval)))) THEN false
            WHEN pg_try_advisory_lock((new.tableoid)::integer, hashtext(new.queue)) THEN (NOT pg_advisory_unlock((new.tableoid)::integer, hashtext(new.queue)))
            ELSE true
        END) EXECUTE FUNCTION bugle.wake()
CREATE TRIGGER job_wake_update AFTER UPDATE OF state, queue, kind, flags, run_at ON bugle.job FOR EACH ROW WHEN (
        CASE
            WHEN ((new.state <> 'ready'::text) AND ((new.state <> 'scheduled'::text) OR (new.run_at > (clock_timestamp() + '00:01:00'::interval)))) THEN false
            WHEN ((old.state = new.state) AND (old.queue = new.queue) AND (NOT (old.kind IS DISTINCT FROM new.kind)) AND (NOT (old.flags IS DISTINCT FROM new.flags)) AND ((new.state = 'ready'::text) OR (old.run_at <= new.run_at))) THEN false
            WHEN pg_try_advisory_lock((new.tableoid)::integer, hashtext(new.queue)) THEN (NOT pg_advisory_unlock((new.tableoid)::integer, hashtext(new.queue)))
            ELSE true
        END) EXECUTE FUNCTION bugle.wake()
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
function free_key() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
begin
  if exists (
    select
    from job
    where queue = new.queue
      and key = new.key
      and state in ('ready', 'scheduled')
  ) then
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
function put(queue text, payload jsonb DEFAULT 'null'::jsonb, priority integer DEFAULT 0, kind text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone) returns bigint
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  insert into job (queue, payload, priority, kind, run_at)
  values (put.queue, coalesce(put.payload, 'null'), put.priority, put.kind, coalesce(put.run_at, now()))
  returning id
function requeue(id bigint) returns boolean
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  select requeue_many(array[requeue.id]) > 0
function requeue_many(ids bigint[]) returns bigint
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
declare
  requeued bigint;
begin
  with held as materialized (
    select id
    from archive
    where id = any (ids)
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
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
begin
  new.state := 'scheduled';
  return new;
end
function tell_cancel() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
begin
  perform pg_notify('bugle_' || tg_relid || '_cancel', new.worker_id || ' ' || new.id);
  return null;
end
function wake() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
begin
  perform pg_notify('bugle_' || tg_relid, new.queue);
  return null;
end
function wake_queue() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
begin
  perform pg_notify('bugle_' || 'job'::regclass::oid, old.name);
  return null;
end

-- privileges
