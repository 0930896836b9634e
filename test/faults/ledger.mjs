import pg from 'pg'

/**
 * What the database itself says of each job, apart from anything that Bugle tells: triggers write down every step of
 * every row, in the transaction that makes it, with the session that made it. And the runs, written by the handlers.
 */
const tables = `
create schema fault;

create table fault.run (
  seq bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  job bigint not null,
  token int not null,
  attempt int not null,
  worker_id bigint not null,
  in_tx boolean not null
);
create index on fault.run (token);

create table fault.step (
  seq bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  tx text not null default pg_current_xact_id()::text,
  by text not null,
  statement text,
  job bigint not null,
  token int,
  from_state text,
  to_state text not null,
  worker_id bigint,
  lease_from bigint,
  lease_to bigint,
  attempt_from int,
  attempt_to int,
  crashes_from int,
  crashes_to int,
  error jsonb,
  version int
);

create table fault.worker (
  id bigint not null,
  name text not null,
  pid int not null,
  at timestamptz not null default clock_timestamp()
);

create function fault.on_job() returns trigger language plpgsql as $$
begin
  insert into fault.step (
    by, statement, job, token, from_state, to_state, worker_id, lease_from, lease_to, attempt_from, attempt_to,
    crashes_from, crashes_to, error, version
  )
  values (
    current_setting('application_name'),
    substring(current_query() from 'bugle (\\w+) '),
    coalesce(new.id, old.id),
    (coalesce(new.payload, old.payload) ->> 'token')::int,
    old.state,
    coalesce(new.state, 'deleted'),
    -- Whose lease it is that ends, or begins.
    coalesce(old.worker_id, new.worker_id),
    old.lease, new.lease, old.attempt, new.attempt, old.crashes, new.crashes,
    case when new.last_error is distinct from old.last_error then new.last_error end,
    (coalesce(new.payload, old.payload) ->> 'version')::int
  );
  return null;
end
$$;

create function fault.on_archive() returns trigger language plpgsql as $$
begin
  insert into fault.step (
    by, statement, job, token, from_state, to_state, worker_id, lease_from, attempt_from, crashes_from
  )
  values (
    current_setting('application_name'), substring(current_query() from 'bugle (\\w+) '),
    new.id, (new.payload ->> 'token')::int,
    lower(tg_op), 'archived', new.worker_id, new.lease, new.attempt, new.crashes
  );
  return null;
end
$$;

create function fault.on_worker() returns trigger language plpgsql as $$
begin
  insert into fault.worker (id, name, pid) values (new.id, new.name, new.pid);
  return null;
end
$$;

create trigger fault_job after insert or delete or update of state, worker_id, lease on bugle.job
for each row execute function fault.on_job();
create trigger fault_archive after insert or update or delete on bugle.archive
for each row execute function fault.on_archive();
create trigger fault_worker after insert on bugle.worker
for each row execute function fault.on_worker();
`

/**
 * @typedef {object} Step
 * @property {number} at ms since 1970
 * @property {string} tx the transaction that made it
 * @property {string} by application_name of the session
 * @property {string | null} statement of ours
 * @property {string} job
 * @property {number} token
 * @property {string | null} from
 * @property {string} to
 * @property {string | null} workerId
 * @property {string | null} leaseFrom
 * @property {string | null} leaseTo
 * @property {number | null} attemptFrom
 * @property {number | null} attemptTo
 * @property {number | null} crashesFrom
 * @property {number | null} crashesTo
 * @property {{ name: string, message: string, failedBy: string } | null} error
 * @property {number | null} version of a job that may be edited
 *
 * @typedef {object} Run
 * @property {number} at
 * @property {string} job
 * @property {number} token
 * @property {number} attempt
 * @property {string} workerId
 * @property {boolean} inTx
 */

/**
 * The harness's own session, past all proxies. Asked again for as long as the server is away.
 *
 * @param {string} connectionString
 */
export function openLedger(connectionString) {
  /** @type {pg.Client | null} */
  let client = null

  async function connected() {
    if (client !== null) return client
    const fresh = new pg.Client({
      connectionString,
      application_name: 'harness',
      connectionTimeoutMillis: 5_000,
      query_timeout: 20_000,
    })
    fresh.on('error', () => {
      if (client === fresh) client = null
    })
    await fresh.connect()
    client = fresh
    return fresh
  }

  /**
   * @param {string} text
   * @param {unknown[]} [values]
   */
  async function askOnce(text, values) {
    try {
      return (await (await connected()).query(text, values)).rows
    } catch (error) {
      const broken = client
      client = null
      broken?.end().catch(() => {})
      throw error
    }
  }

  /**
   * @param {string} text
   * @param {unknown[]} [values]
   * @returns {Promise<any[]>}
   */
  async function ask(text, values) {
    const until = performance.now() + 30_000
    for (;;) {
      try {
        return await askOnce(text, values)
      } catch (error) {
        if (performance.now() > until) throw error
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }

  return {
    ask,
    /** Once only: for what must not be repeated, and for looks that may fail. */
    askOnce,
    create: () => ask(tables),
    /** @returns {Promise<Step[]>} in their order */
    steps: () =>
      ask(`
        select
          (extract(epoch from at) * 1000)::float8 as at, tx, by, statement, job::text as job, token,
          from_state as "from", to_state as "to", worker_id::text as "workerId",
          lease_from::text as "leaseFrom", lease_to::text as "leaseTo",
          attempt_from as "attemptFrom", attempt_to as "attemptTo",
          crashes_from as "crashesFrom", crashes_to as "crashesTo", error, version
        from fault.step
        order by seq`),
    /** @returns {Promise<Run[]>} */
    runs: () =>
      ask(`
        select
          (extract(epoch from at) * 1000)::float8 as at, job::text as job, token, attempt,
          worker_id::text as "workerId", in_tx as "inTx"
        from fault.run
        order by seq`),
    /** @returns {Promise<{ id: string, name: string, pid: number }[]>} */
    workers: () => ask('select id::text as id, name, pid from fault.worker'),
    end: async () => void (await client?.end().catch(() => {})),
  }
}

/** @typedef {ReturnType<typeof openLedger>} Ledger */
