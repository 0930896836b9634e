import type { TestDatabase } from './database.js'

/** Runs SQL text in a transaction that stays open. @returns ends that transaction */
export async function transaction(
  db: TestDatabase,
  text: string,
): Promise<(end: 'commit' | 'rollback') => Promise<void>> {
  const sql = db.connect()
  await sql.unsafe('begin')
  await sql.unsafe(text)
  return async (end) => void (await sql.unsafe(end))
}
