import type { TestDatabase } from './database.js'

/**
 * A run after which its job waits for another. How long it was told to wait is run_at less the moment of settling; that
 * moment lies between two readings of the database's clock.
 */
export interface Settling {
  readonly job: string
  /** As the row has it now. */
  readonly attempt: number
  readonly state: string
  readonly leastMs: number
  readonly mostMs: number
}

/** From now on each is recorded. The function that it returns answers with those of one job, in order. */
export async function recordSettlings(db: TestDatabase): Promise<(job: string) => Promise<Settling[]>> {
  await db.sql.unsafe(`
    create table ${db.s}.settling (
      number int generated always as identity,
      job bigint,
      attempt int,
      state text,
      least_ms float8,
      most_ms float8
    );
    create function ${db.s}.record_settling() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.settling (job, attempt, state, least_ms, most_ms)
      values (
        new.id, new.attempt, new.state,
        extract(epoch from new.run_at - clock_timestamp()) * 1000,
        extract(epoch from new.run_at - statement_timestamp()) * 1000
      );
      return new;
    end
    $$;
    -- Triggers of one kind fire by name: after this, nothing changes the row.
    create trigger zz_record before update of state on ${db.s}.job
    for each row when (old.state = 'running' and new.state in ('ready', 'scheduled'))
    execute function ${db.s}.record_settling()`)
  return async (job) => [
    ...(await db.sql.unsafe<Settling[]>(
      `select job, attempt, state, least_ms as "leastMs", most_ms as "mostMs"
       from ${db.s}.settling where job = $1 order by number`,
      [job],
    )),
  ]
}

/** Compared with a settling: a wait of so many milliseconds, or of so many at least and at most. */
export function waitOf(ms: number, mostMs = ms): unknown {
  return { ms, mostMs, asymmetricMatch: (known: Settling) => known.leastMs <= mostMs && known.mostMs >= ms }
}
