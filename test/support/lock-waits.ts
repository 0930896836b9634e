import type { TestDatabase } from './database.js'
import { until } from './until.js'

/** Waits until at least `count` statements of this test's instances wait for a lock. */
export async function untilBlocked(db: TestDatabase, count: number): Promise<void> {
  await until(async () => {
    const pids = await db.backends('')
    const rows = await db.sql`
      select from pg_stat_activity where pid = any (${pids}) and wait_event_type = 'Lock' and state = 'active'`
    return rows.length >= count
  })
}
