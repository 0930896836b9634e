import type { Bugle } from '../../src/index.js'
import type { TestDatabase } from './database.js'

/** Every column of a row, for the tests that look at more than `db.jobs()` shows. */
export interface FullRow {
  id: string
  queue: string
  kind: string | null
  payload: unknown
  state: string
  priority: number
  run_at: Date
  attempt: number
  lease: string
  crashes: number
  worker_id: string | null
  claimed_at: Date | null
  created_at: Date
  finished_at: Date | null
  key: string | null
  key_while: string | null
  flags: string[] | null
  max_attempts: number | null
  progress: unknown
  last_error: StoredRow | null
  former_errors: StoredRow[] | null
}

/** What a job's `last_error` holds, as far as tests look at it. */
export interface StoredRow {
  name: string
  message: string
  stack?: string
  code?: string
  cause?: { message: string }
  errors?: { message: string }[]
  failedBy: string
  attempt: number
}

export interface ArchivedRow extends Omit<FullRow, 'state' | 'last_error' | 'former_errors'> {
  result: unknown
  expires_at: Date | null
}

/** The jobs that are there, by id. */
export async function fullRows(db: TestDatabase): Promise<FullRow[]> {
  return [...(await db.sql.unsafe<FullRow[]>(`select * from ${db.s}.job order by id`))]
}

/** What was kept of acked jobs, by id. */
export async function archivedRows(db: TestDatabase): Promise<ArchivedRow[]> {
  return [...(await db.sql.unsafe<ArchivedRow[]>(`select * from ${db.s}.archive order by id`))]
}

/** A waiting job is moved to now, as an operator would do it: its next run need not be waited for. */
export async function makeDue(db: TestDatabase, id: string): Promise<void> {
  await db.sql.unsafe(`update ${db.s}.job set run_at = now() where id = $1 and state = 'scheduled'`, [id])
}

/** From now on every job that goes back to its queue is due at once. */
export function hasten(db: TestDatabase, bugle: Bugle): void {
  for (const name of ['job:retrying', 'job:partial', 'job:released'] as const) {
    bugle.on(name, ({ id }) => makeDue(db, id))
  }
}
