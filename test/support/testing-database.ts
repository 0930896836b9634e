import { afterAll, beforeAll, beforeEach, expect, inject, onTestFinished } from 'vitest'
import type { Kinds } from '../../src/index.js'
import { startTestDatabase, type TestDatabase } from '../../src/testing/index.js'

/** The queues of these tests, with their payloads. */
export type Queues = {
  emails: { to: string }
  others: { n: number }
  media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
}

/** The database of the file, once `withDatabase` has started it. */
export let db: TestDatabase

/** An instance in it, closed after the test. */
export function open() {
  const bugle = db.bugle<Queues>()
  onTestFinished(() => bugle.close())
  return bugle
}

/** The error that a promise rejects with. */
export function refused(pending: Promise<unknown>): Promise<Error> {
  return pending.then(
    () => expect.unreachable(),
    (error) => error,
  )
}

/** Starts the database before the tests, empties it before each, and drops it after them. */
export function withDatabase(): void {
  beforeAll(async () => {
    db = await startTestDatabase({ connectionString: inject('connectionString') })
  })
  beforeEach(() => db.reset())
  afterAll(() => db.stop())
}
