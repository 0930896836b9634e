import type { TransactionSql } from 'postgres'
import { expect } from 'vitest'
import { loadMigrations, loadStatements } from '../../../src/database/statements.js'
import { examine } from '../../../src/doctor/index.js'
import { resolveBugleOptions } from '../../../src/options.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { holders, lockHeld } from '../../support/presence.js'
import { untilAsleep, untilSoundAsleep } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

const LOCK_NOT_AVAILABLE = '55P03'

/**
 * Dropped and migrated, or as a restore leaves them: with the workers' rows, so that no worker is given up.
 *
 * A DROP takes the locks of the tables one after the other, so a statement of the running consumer can hold one of them
 * and wait for another: PostgreSQL ends that deadlock by refusing one of the two. So the tables are locked first, all
 * in one moment at which nobody uses them.
 */
async function makeAnew(db: TestDatabase, rows: 'without rows' | 'with the workers'): Promise<void> {
  const steps = loadMigrations(db.schema).flatMap(({ number, name, text }) => [
    text,
    `insert into ${db.s}.migration (number, name) values (${number}, '${name}')`,
  ])
  const tables = ['job', 'queue', 'worker', 'archive'].map((table) => `${db.s}.${table}`).join(', ')
  const remake = async (tx: TransactionSql): Promise<void> => {
    await tx.unsafe(`lock table ${tables} in access exclusive mode nowait`)
    const workers = await tx.unsafe<{ row: string }[]>(`select row_to_json(worker)::text as row from ${db.s}.worker`)
    await tx.unsafe(`drop schema ${db.s} cascade`)
    await tx.unsafe([loadStatements(db.schema).schema_create, ...steps].join(';\n'))
    if (rows === 'without rows') return
    for (const { row } of workers) {
      await tx.unsafe(
        `insert into ${db.s}.worker select * from json_populate_record(null::${db.s}.worker, $1::text::json)`,
        [row],
      )
    }
  }
  await until(() =>
    db.sql.begin(remake).then(
      () => true,
      (error: { code?: string }) => {
        if (error.code !== LOCK_NOT_AVAILABLE) throw error
        return false
      },
    ),
  )
}

for (const rows of ['without rows', 'with the workers'] as const) {
  test(`tables made anew, ${rows}: a consumer sleeps under their lock, and hears the next put`, async ({ db }) => {
    const bugle = db.bugle({ rescueAfterMs: 600 })
    const health = db.collect(bugle, 'listener:health')
    let ran = signal<unknown>()
    const consumer = await bugle.consume('q', ({ payload }) => ran.resolve(payload))
    expect((await health.next()).to).toBe('live')
    for (const round of [1, 2]) {
      await untilSoundAsleep(db, consumer)
      await makeAnew(db, rows)
      expect(await health.next()).toMatchObject({ from: 'live', to: 'polling' })
      expect(await health.next()).toMatchObject({ from: 'polling', to: 'live' })
      // The lock of the new table, seen from outside.
      await untilAsleep(db, 'q')
      await untilSoundAsleep(db, consumer)
      ran = signal()
      await bugle.put('q', round)
      expect(await ran.promise).toBe(round)
      await consumer.idle()
      expect(await db.jobs()).toEqual([])
    }
    await lockHeld(db, bugle)
    expect(await holders(db, bugle.workerId)).toEqual(await db.backends('control'))
  })
}

test('tables made anew: the doctor finds a worker that is present and listens', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 600 })
  const health = db.collect(bugle, 'listener:health')
  await bugle.consume('q', () => {})
  expect((await health.next()).to).toBe('live')
  await makeAnew(db, 'with the workers')
  expect((await health.next()).to).toBe('polling')
  expect((await health.next()).to).toBe('live')
  await untilAsleep(db, 'q')
  await lockHeld(db, bugle)
  const { connectionString, schema } = db
  const resolved = resolveBugleOptions({ connectionString, schema }, {})
  const found = await examine({ ...resolved, thresholds: {}, now: Date.now })
  expect(found.filter(({ check }) => check === 'listeners')).toMatchObject([
    { status: 'ok', details: { workers: 1, present: 1, listening: 1 } },
  ])
})

test.runIf(process.env.BUGLE_TEST_SLOW)(
  'tables made anew: a ping finds out as well, where no heartbeat comes',
  async ({ db }) => {
    // The heartbeat comes once in 20 minutes; the ping of a new listener at once.
    const bugle = db.bugle({ rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000 })
    const health = db.collect(bugle, 'listener:health')
    const ran = signal<unknown>()
    await bugle.consume('q', ({ payload }) => ran.resolve(payload))
    expect((await health.next()).to).toBe('live')
    await makeAnew(db, 'with the workers')
    // About every ten seconds.
    expect(await health.next()).toMatchObject({ from: 'live', to: 'polling' })
    expect(await health.next()).toMatchObject({ from: 'polling', to: 'live' })
  },
)
