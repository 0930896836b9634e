import { expect } from 'vitest'
import { replacing, withStatements } from '../../support/changed-statements.js'
import { test } from '../../support/database.js'
import { lateCommit, lockedRow, race } from '../../support/races.js'

// The races must be able to fail: each guard of the sleep protocol is taken out of the claim in turn, and a job is
// lost.
const target = `(
          pg_snapshot_xmin(pg_current_snapshot())::text::bigint
          + age(pg_snapshot_xmin(pg_current_snapshot())::xid)
        )::text`

const broken = [
  {
    title: 'B4 without waiting for older transactions a job is lost',
    find: target,
    put: 'pg_snapshot_xmin(pg_current_snapshot())::text',
    round: (schema: string) => lateCommit('read committed', schema),
  },
  {
    title: 'B4 with pg_snapshot_xmax as the target a job is lost',
    find: target,
    put: 'pg_snapshot_xmax(pg_current_snapshot())::text',
    round: (schema: string) => lateCommit('read committed', schema),
  },
  {
    title: 'B15 without left_behind a job is lost',
    find: 'ready < (select jobs from visible)',
    put: 'false',
    round: (schema: string) => lockedRow(schema),
  },
]

for (const { title, find, put, round } of broken) {
  test(title, { timeout: 120_000 }, async ({ db }) => {
    const { createBugle } = await withStatements(replacing('claim', find, put))
    const bugle = createBugle({ connectionString: db.connectionString, schema: db.schema, sweepMs: 0 })
    const result = await race(db, bugle, { lanes: 4, rounds: 1_000, round: round(db.s), givesUp: true })
    await bugle.close()
    expect(result.lost).toBeGreaterThan(0)
  })
}
