import { expect } from 'vitest'
import { replacing, withStatements } from '../../support/changed-statements.js'
import { test } from '../../support/database.js'
import { holdersOfK } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

test('K: a cancel that hits the statement when it has the lock leaves no lock that nobody gives up', async ({ db }) => {
  // Slow after it has the lock, as long as that table has a row.
  await db.sql.unsafe(`create table ${db.s}.slow as select 60 as seconds`)
  const slow = ` as taken, (select pg_sleep(seconds) from ${db.s}.slow)`
  const { createBugle } = await withStatements(replacing('asleep_take', ' as taken', slow))
  const bugle = createBugle({ connectionString: db.connectionString, schema: db.schema, name: 'taker', sweepMs: 0 })
  const consuming = bugle.consume('q', () => {})
  const leaked = await until(async () => (await holdersOfK(db, 'q'))[0])
  await db.sql.unsafe(`delete from ${db.s}.slow`)
  await db.sql`select pg_cancel_backend(${leaked})`
  // Otherwise the former session keeps it, beside its next one.
  await until(async () => {
    const holders = await holdersOfK(db, 'q')
    return holders.length === 1 && holders[0] !== leaked
  })
  const consumer = await consuming
  await consumer.stop()
  await until(async () => (await holdersOfK(db, 'q')).length === 0)
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
