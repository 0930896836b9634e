import type { Job } from '../../src/index.js'
import type { TestDatabase } from './database.js'
import { until } from './until.js'

/**
 * The time-out of a test whose jobs must be found without the help of a look. Sweeps are off in the tests' instances. A
 * consumer looks every half minute for jobs that are due in more than a minute, for the first time after 27 s.
 */
export const beforeALook = { timeout: 20_000 } as const

/** Whether a running job was claimed at its `run_at` or later, by the database's clock. */
export async function isOnTime(db: TestDatabase, { id }: Job): Promise<boolean> {
  const [row] = await db.sql.unsafe<{ on_time: boolean }[]>(
    `select claimed_at >= run_at as on_time from ${db.s}.job where id = $1`,
    [id],
  )
  return row?.on_time ?? false
}

/** Counts the promotions from now on. One that finds no job to make ready counts too. */
export async function countPromotions(db: TestDatabase): Promise<() => Promise<number>> {
  await db.sql.unsafe(`
    create table ${db.s}.promotion (at timestamptz);
    create function ${db.s}.count_promotion() returns trigger language plpgsql as $$
    begin
      if current_query() like '%bugle promote%' then
        insert into ${db.s}.promotion values (now());
      end if;
      return null;
    end
    $$;
    create trigger zz_count after update of state on ${db.s}.job
    for each statement execute function ${db.s}.count_promotion()`)
  return async () => {
    const [row] = await db.sql.unsafe<{ count: number }[]>(`select count(*)::int as count from ${db.s}.promotion`)
    return row?.count ?? 0
  }
}

/** Waits until the nearest scheduled job is due, or no job is scheduled any more. */
export async function untilDue(db: TestDatabase): Promise<void> {
  await until(async () => {
    const [row] = await db.sql.unsafe<{ waits: boolean | null }[]>(
      `select min(run_at) > clock_timestamp() as waits from ${db.s}.job where state = 'scheduled'`,
    )
    return row?.waits !== true
  })
}
