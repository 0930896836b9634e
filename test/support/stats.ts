import type { BugleStats, QueueStats } from '../../src/index.js'
import type { TestDatabase } from './database.js'

/** A count that is exact. */
export const exactly = (count: number) => ({ count, isExact: true })

/** A count that stopped at its bound. */
export const atLeast = (count: number) => ({ count, isExact: false })

export const none = exactly(0)

/** What stats say of one queue. */
export function queueOf({ queues }: BugleStats, queue: string): QueueStats | undefined {
  return queues.find((one) => one.queue === queue)
}

/** Inserts jobs without running triggers. `columns` and `rows` are SQL text; `rows` is a select. */
export async function insert(db: TestDatabase, columns: string, rows: string): Promise<void> {
  await db.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`insert into ${db.s}.job (${columns}) ${rows}`)
  })
}

/** Inserts the row of a worker that was seen so long ago, with the consumers that it says it has. */
export async function insertWorker(
  db: TestDatabase,
  id: number,
  seenAgo: string,
  serves: object[] = [],
): Promise<void> {
  await db.sql.unsafe(
    `insert into ${db.s}.worker (id, name, host, pid, version, seen_at, rescue_after_ms, hung_after_ms, consumers)
     values ($1, 'stopped', 'elsewhere', 7, '0', now() - $2::interval, 5000, 300000, $3::text::jsonb)`,
    [id, seenAgo, JSON.stringify(serves)],
  )
}
