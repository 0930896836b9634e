import type { TestDatabase } from './database.js'
import { until } from './until.js'

/** Counts the rows of one of Bugle's tables. `where` is SQL text. */
export async function count(db: TestDatabase, table: string, where = 'true'): Promise<number> {
  const [row] = await db.sql.unsafe<{ n: number }[]>(`select count(*)::int as n from ${db.s}.${table} where ${where}`)
  return row?.n ?? 0
}

/** Counts the jobs that are in a state. */
export async function countIn(db: TestDatabase, state: string): Promise<number> {
  const [row] = await db.sql.unsafe<{ count: number }[]>(
    `select count(*)::int as count from ${db.s}.job where state = $1`,
    [state],
  )
  return row?.count ?? 0
}

/** Waits until exactly so many jobs run, by their rows. */
export async function untilRunning(db: TestDatabase, count: number): Promise<void> {
  await until(async () => (await countIn(db, 'running')) === count)
}
