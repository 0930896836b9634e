import { afterEach, expect, vi } from 'vitest'
import type * as statementsModule from '../../../src/database/statements.js'
import { loadStatements } from '../../../src/database/statements.js'
import { type TestDatabase, test } from '../../support/database.js'
import { until } from '../../support/until.js'

afterEach(() => {
  vi.doUnmock('../../../src/database/statements.js')
  vi.resetModules()
})

test('K: a cancel that hits the statement when it has the lock leaves no lock that nobody gives up', async ({ db }) => {
  // Slow after it has the lock, as long as that table has a row.
  await db.sql.unsafe(`create table ${db.s}.slow as select 60 as seconds`)
  vi.resetModules()
  vi.doMock('../../../src/database/statements.js', async (importOriginal) => {
    const original = await importOriginal<typeof statementsModule>()
    return {
      ...original,
      loadStatements: (schema: string) => {
        const statements = original.loadStatements(schema)
        expect(statements.asleep_take).toContain(' as taken')
        const asleep_take = statements.asleep_take.replace(
          ' as taken',
          ` as taken, (select pg_sleep(seconds) from ${db.s}.slow)`,
        )
        return { ...statements, asleep_take }
      },
    }
  })
  const { createBugle } = await import('../../../src/index.js')
  const bugle = createBugle({ connectionString: db.connectionString, schema: db.schema, name: 'taker', sweepMs: 0 })
  const consuming = bugle.consume('q', () => {})
  const leaked = await until(async () => (await sleepers(db))[0])
  await db.sql.unsafe(`delete from ${db.s}.slow`)
  await db.sql`select pg_cancel_backend(${leaked})`
  // Otherwise the former session keeps it, beside its next one.
  await until(async () => {
    const holders = await sleepers(db)
    return holders.length === 1 && holders[0] !== leaked
  })
  const consumer = await consuming
  await consumer.stop()
  await until(async () => (await sleepers(db)).length === 0)
  await bugle.close()
})

test('K: a lock time-out behind a stranger costs no session', async ({ db }) => {
  const stranger = db.connect()
  await stranger.unsafe(`select pg_advisory_lock('${db.s}.job'::regclass::oid::int, hashtext('q'))`)
  const bugle = db.bugle()
  const unprotected = db.collect(bugle, 'consumer:unprotected')
  await bugle.consume('q', () => {})
  const control = await until(async () => (await db.backends('control'))[0])
  expect(await unprotected.next()).toMatchObject({ reason: 'blocked' })
  expect(await db.backends('control')).toEqual([control])
  expect(unprotected.all).toHaveLength(1)
})

/** The sessions that hold the queue's sleep lock. */
async function sleepers(db: TestDatabase): Promise<number[]> {
  const { asleep_others } = loadStatements(db.schema)
  return (await db.sql.unsafe<{ pid: number }[]>(asleep_others, ['q'])).map(({ pid }) => pid)
}
