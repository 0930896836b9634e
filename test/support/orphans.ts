import type { TestDatabase } from './database.js'

/**
 * Inserts running jobs whose worker has died and has no row any more.
 *
 * @param given - further columns, or other values; each value is SQL text without its quotes
 * @returns the ids of the jobs
 */
export async function orphans(db: TestDatabase, count: number, given: Record<string, string> = {}): Promise<string[]> {
  const columns = { queue: 'q', state: 'running', worker_id: '42', attempt: '1', lease: '7', ...given }
  const names = Object.keys(columns).join()
  const values = Object.values(columns).map((value) => `'${value}'`)
  const rows = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (${names}) select ${values} from generate_series(1, ${count}) returning id::text`,
  )
  return rows.map(({ id }) => id)
}
