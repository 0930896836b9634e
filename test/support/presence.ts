import { loadStatements } from '../../src/database/statements.js'
import type { Bugle } from '../../src/index.js'
import type { TestDatabase } from './database.js'
import { until } from './until.js'

/** The ids of the workers that have a row, in order. */
export async function workerIds(db: TestDatabase): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(`select id::text from ${db.s}.worker order by worker.id`)
  return rows.map(({ id }) => id)
}

/** The pids of the backends that hold a worker's presence lock. */
export async function holders(db: TestDatabase, workerId: string): Promise<number[]> {
  const rows = await db.sql.unsafe<{ pid: number }[]>(loadStatements(db.schema).presence_holders, [`{${workerId}}`])
  return rows.map(({ pid }) => pid)
}

/** Waits until the worker's presence lock is held, and its row says so. */
export async function lockHeld(db: TestDatabase, bugle: Bugle): Promise<void> {
  const says = async () =>
    (
      await db.sql.unsafe<{ ms: number }[]>(`select rescue_after_ms as ms from ${db.s}.worker where id = $1`, [
        bugle.workerId,
      ])
    )[0]
  await until(async () => {
    const isHeld = (await holders(db, bugle.workerId)).length > 0
    return isHeld && ((await says())?.ms ?? 60_000) < 60_000
  })
}

/** Waits until the worker has written so many heartbeats from now on. */
export async function heartbeats(db: TestDatabase, bugle: Bugle, count: number): Promise<void> {
  const seen = new Set<string>()
  await until(async () => {
    const [row] = await db.sql.unsafe<{ at: string }[]>(
      `select seen_at::text as at from ${db.s}.worker where id = $1`,
      [bugle.workerId],
    )
    if (row) seen.add(row.at)
    return seen.size > count
  })
}
