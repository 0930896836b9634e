-- The schema at step 1, from the catalogs.

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

-- constraints
bugle.archive archive_pkey: PRIMARY KEY (id)
bugle.job job_limits: CHECK ((((attempt >= 0) AND (attempt <= 1000000000)) AND ((lease >= 0) AND (lease <= '4611686018427387904'::bigint)) AND ((crashes >= 0) AND (crashes <= 32000)) AND (max_attempts > 0) AND (timeout_ms > 0)))
bugle.job job_owner: CHECK (((state = 'running'::text) = (worker_id IS NOT NULL)))
bugle.job job_pkey: PRIMARY KEY (id)
bugle.job job_queue_name: CHECK (((char_length(queue) >= 1) AND (char_length(queue) <= 128)))
bugle.job job_state: CHECK ((state = ANY (ARRAY['scheduled'::text, 'ready'::text, 'running'::text, 'failed'::text])))
bugle.job job_times: CHECK ((isfinite(run_at) AND isfinite(created_at)))
bugle.migration migration_pkey: PRIMARY KEY (number)
bugle.queue queue_pkey: PRIMARY KEY (name)
bugle.worker worker_pkey: PRIMARY KEY (id)

-- indexes
CREATE INDEX archive_finished ON bugle.archive USING btree (queue, finished_at)
CREATE UNIQUE INDEX archive_pkey ON bugle.archive USING btree (id)
CREATE INDEX job_due ON bugle.job USING btree (queue, run_at) WHERE (state = 'scheduled'::text)
CREATE INDEX job_failed ON bugle.job USING btree (queue, finished_at) WHERE (state = 'failed'::text)
CREATE UNIQUE INDEX job_key ON bugle.job USING btree (queue, key) WHERE ((key IS NOT NULL) AND (state = ANY (ARRAY['ready'::text, 'scheduled'::text])))
CREATE UNIQUE INDEX job_pkey ON bugle.job USING btree (id)
CREATE INDEX job_ready ON bugle.job USING btree (queue, priority DESC, id) WHERE (state = 'ready'::text)
CREATE INDEX job_running ON bugle.job USING btree (worker_id) WHERE (state = 'running'::text)
CREATE UNIQUE INDEX migration_pkey ON bugle.migration USING btree (number)
CREATE UNIQUE INDEX queue_pkey ON bugle.queue USING btree (name)
CREATE UNIQUE INDEX worker_pkey ON bugle.worker USING btree (id)

-- triggers
CREATE TRIGGER job_schedule BEFORE INSERT ON bugle.job FOR EACH ROW WHEN (((new.state = 'ready'::text) AND (new.run_at > now()))) EXECUTE FUNCTION bugle.schedule()
CREATE TRIGGER job_wake_insert AFTER INSERT ON bugle.job FOR EACH ROW WHEN (
        CASE
            WHEN (new.state <> 'ready'::text) THEN false
            WHEN pg_try_advisory_lock((new.tableoid)::integer, hashtext(new.queue)) THEN (NOT pg_advisory_unlock((new.tableoid)::integer, hashtext(new.queue)))
            ELSE true
        END) EXECUTE FUNCTION bugle.wake()
CREATE TRIGGER job_wake_update AFTER UPDATE OF state, queue ON bugle.job FOR EACH ROW WHEN (
        CASE
            WHEN (new.state <> 'ready'::text) THEN false
            WHEN ((old.state = 'ready'::text) AND (old.queue = new.queue)) THEN false
            WHEN pg_try_advisory_lock((new.tableoid)::integer, hashtext(new.queue)) THEN (NOT pg_advisory_unlock((new.tableoid)::integer, hashtext(new.queue)))
            ELSE true
        END) EXECUTE FUNCTION bugle.wake()

-- functions
function put(queue text, payload jsonb DEFAULT 'null'::jsonb, priority integer DEFAULT 0) returns bigint
language sql volatile parallel u set search_path=pg_catalog, bugle, pg_temp
  insert into job (queue, payload, priority)
  values (put.queue, coalesce(put.payload, 'null'), put.priority)
  returning id
function schedule() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
begin
  new.state := 'scheduled';
  return new;
end
function wake() returns trigger
language plpgsql volatile parallel u set search_path=pg_catalog, pg_temp
begin
  perform pg_notify('bugle_' || tg_relid, new.queue);
  return null;
end

-- privileges
