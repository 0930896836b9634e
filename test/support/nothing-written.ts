import { expect } from 'vitest'
import type { TestDatabase } from './database.js'

/** Asserts that nothing was written: no job, and no worker that would have run one. */
export async function expectNothing(db: TestDatabase): Promise<void> {
  expect(await db.jobs()).toEqual([])
  expect(await db.sql.unsafe(`select from ${db.s}.worker`)).toHaveLength(0)
}
