/** Consumers that sleep: each holds its queue's lock shared, where everybody can see it. */
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Resolves once exactly so many locks of sleepers are held.
 *
 * @param {Pick<import('../server.mjs').Database, 'query'>} database
 * @param {number} wanted
 * @param {{ schema?: string, withinMs?: number }} [options]
 */
export async function untilAsleep(database, wanted, { schema = 'bugle', withinMs = 30_000 } = {}) {
  const deadline = performance.now() + withinMs
  for (;;) {
    const [row] = await database.query(
      `select count(*)::int as asleep
       from pg_locks
       where locktype = 'advisory' and objsubid = 2 and mode = 'ShareLock' and granted
         and classid = '${schema}.job'::regclass
         and database = (select oid from pg_database where datname = current_database())`,
    )
    if (row.asleep === wanted) return
    if (performance.now() > deadline) {
      throw new Error(`${row.asleep} consumers sleep after ${withinMs / 1_000} s, not ${wanted}`)
    }
    await sleep(20)
  }
}
