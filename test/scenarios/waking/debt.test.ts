import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { untilAwake } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

// Sweeps are off: only the debt, which a consumer owes for each taking of its sleep lock, finds these jobs.

/** How somebody inserts a job and commits late. Resolves with what commits. */
const lateWriters: Record<string, (db: TestDatabase, sql: postgres.Sql) => Promise<() => Promise<unknown>>> = {
  'in a transaction': async (db, sql) => {
    await sql.unsafe(`begin; insert into ${db.s}.job (queue, payload) values ('q', '"late"')`)
    return () => sql.unsafe('commit')
  },
  'under a savepoint': async (db, sql) => {
    await sql.unsafe(`begin; savepoint one; savepoint two`)
    await sql.unsafe(`insert into ${db.s}.job (queue, payload) values ('q', '"late"'); release two`)
    return () => sql.unsafe('commit')
  },
  'in a prepared transaction': async (db, sql) => {
    await sql.unsafe(`begin; insert into ${db.s}.job (queue, payload) values ('q', '"late"')`)
    await sql.unsafe(`prepare transaction '${db.schema}'`)
    return () => sql.unsafe(`commit prepared '${db.schema}'`)
  },
}

for (const [how, write] of Object.entries(lateWriters)) {
  test(`debt: beside writers that never rest, a job that was put ${how} before the sleep runs`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const held = gate()
    const late = signal()
    const consumer = await bugle.consume('q', ({ payload }) => (payload === 'late' ? late.resolve() : held.promise), {
      concurrency: 1,
    })
    await bugle.put('q', 'takes the only slot')
    await untilAwake(db, 'q')
    const commit = await write(db, db.connect())
    const noise = await writeAlways(db)
    held.resolve()
    // It claims for a tenth of a second, and then looks for the writers that were there before it.
    await until(async () => (await looks(db)) > 0)
    await commit()
    await late.promise
    await consumer.idle()
    await noise.end()
    expect(await db.sql.unsafe(`select from ${db.s}.job where queue = 'q'`)).toEqual([])
  })
}

test('debt: a look counts a writer whose own id is lower than the target, and no other', async ({ db }) => {
  const writing = async (target: bigint): Promise<unknown> =>
    (await db.sql.unsafe(loadStatements(db.schema).writers, [String(target)]))[0]?.writing
  const insert = `insert into ${db.s}.job (queue, payload) values ('q', '1')`
  const writer = db.connect()

  await writer.unsafe(`begin; ${insert}`)
  const [row] = await writer.unsafe<{ id: string }[]>('select pg_current_xact_id()::text as id')
  const id = BigInt(row?.id ?? 0)
  expect([await writing(id), await writing(id + 1n)]).toEqual([false, true])
  // Its subtransactions have later ids, and do not make it younger.
  await writer.unsafe(`savepoint one; ${insert}`)
  expect([await writing(id), await writing(id + 1n)]).toEqual([false, true])
  // Across the border of 32 bits, either way.
  expect([await writing(id - 2n ** 32n), await writing(id + 2n ** 32n)]).toEqual([false, true])
  await writer.unsafe(`prepare transaction '${db.schema}'`)
  expect([await writing(id), await writing(id + 1n)]).toEqual([false, true])
  await writer.unsafe(`rollback prepared '${db.schema}'`)
  expect(await writing(id + 1n)).toBe(false)

  // One that waits for another's end has a lock on the other's id, and none of its own.
  await writer.unsafe(insert)
  await writer.unsafe(`begin; update ${db.s}.job set priority = 1`)
  const other = db.connect()
  const waiting = other.unsafe(`delete from ${db.s}.job`).execute()
  await until(
    async () => (await db.sql`select from pg_locks where locktype = 'transactionid' and not granted`).length > 0,
  )
  await writer.unsafe('rollback')
  await waiting
  // Nor has one that writes elsewhere.
  await db.sql.unsafe(`create table ${db.s}.other (n int)`)
  await writer.unsafe(`begin; insert into ${db.s}.other values (1)`)
  expect(await writing(2n ** 62n)).toBe(false)
  await writer.unsafe('rollback')
})

/** How many of this test's sessions have asked last who writes. */
async function looks(db: TestDatabase): Promise<number> {
  const pids = await db.backends('')
  const rows = await db.sql`
    select from pg_stat_activity where pid = any (${pids}) and query like '/* bugle writers */%'`
  return rows.length
}

/**
 * Two writers of another queue, of whom one at least has an open transaction at each moment: each commits when the
 * other has begun.
 */
async function writeAlways(db: TestDatabase): Promise<{ end(): Promise<void> }> {
  const writers = [db.connect(), db.connect()]
  const begin = (writer: postgres.Sql | undefined): Promise<unknown> | undefined =>
    writer?.unsafe(`begin; insert into ${db.s}.job (queue, payload) values ('noise', '1')`)
  await begin(writers[0])
  let isOver = false
  async function run(): Promise<void> {
    for (let turn = 0; !isOver; turn += 1) {
      await begin(writers[(turn + 1) % 2])
      await writers[turn % 2]?.unsafe('commit')
      await pause(2)
    }
  }
  const running = run()
  return {
    async end() {
      isOver = true
      await running
      for (const writer of writers) await writer.unsafe('rollback')
    },
  }
}
