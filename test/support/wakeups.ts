import pg from 'pg'
import { loadStatements } from '../../src/database/statements.js'
import type { TestDatabase } from './database.js'

/** Counts the notifications that a schema's writers send, by listening as a consumer does. */
export interface NotificationCount {
  readonly count: number
  /** Forget what was counted. */
  reset(): void
  /** Everything that was committed before this call has been counted. */
  settled(): Promise<void>
  end(): Promise<void>
}

export async function countNotifications(db: TestDatabase): Promise<NotificationCount> {
  const client = new pg.Client(db.connectionString)
  await client.connect()
  const { rows } = await client.query<{ channel: string }>(loadStatements(db.schema).channel)
  const channel = rows[0]?.channel ?? ''
  let count = 0
  let fence = (): void => {}
  client.on('notification', (notification) => {
    if (notification.channel === channel) count += 1
    else fence()
  })
  await client.query(`listen ${channel}`)
  await client.query('listen fence')
  return {
    get count() {
      return count
    },
    reset() {
      count = 0
    },
    // Notifications arrive in the order of their commits.
    settled: () =>
      new Promise((resolve) => {
        fence = resolve
        void db.sql`notify fence`.execute() // lazy otherwise
      }),
    end: () => client.end(),
  }
}
