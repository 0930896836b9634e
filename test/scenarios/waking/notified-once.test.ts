import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { watchNotifications } from '../../support/sleepers.js'

/** A session that sleeps on the queues, as consumers do: whatever becomes ready there is to notify. */
async function sleepOn(db: TestDatabase, ...queues: string[]): Promise<void> {
  const sleeper = db.connect()
  for (const queue of queues) {
    await sleeper.unsafe(`select pg_advisory_lock_shared('${db.s}.job'::regclass::oid::int, hashtext('${queue}'))`)
  }
}

const insert = (db: TestDatabase, queue: string): string => `insert into ${db.s}.job (queue) values ('${queue}')`

test('B2 a transaction that puts into two queues by turns notifies each', async ({ db }) => {
  await sleepOn(db, 'a', 'b')
  const notified = await watchNotifications(db)
  await db.sql.begin(async (tx) => {
    for (const queue of ['a', 'b', 'a', 'b', 'b']) await tx.unsafe(insert(db, queue))
  })
  expect((await notified()).toSorted()).toEqual(['a', 'b'])
})

test('B2 transactions of one session notify one after the other', async ({ db }) => {
  await sleepOn(db, 'q')
  const notified = await watchNotifications(db)
  const session = db.connect()
  for (let n = 0; n < 3; n += 1) await session.unsafe(insert(db, 'q'))
  expect(await notified()).toEqual(['q', 'q', 'q'])
})

test('B2 what is put again after a savepoint was rolled back notifies, by insert and by update', async ({ db }) => {
  await sleepOn(db, 'q')
  await db.sql.unsafe(`insert into ${db.s}.job (queue, state) values ('q', 'failed')`)
  const notified = await watchNotifications(db)
  for (const write of [insert(db, 'q'), `update ${db.s}.job set state = 'ready'`]) {
    await db.sql.begin(async (tx) => {
      await tx.unsafe('savepoint here')
      await tx.unsafe(write)
      await tx.unsafe('rollback to here')
      await tx.unsafe(write)
    })
  }
  expect(await notified()).toEqual(['q', 'q'])
})

test('B2 a queue that falls asleep in the middle of a transaction is notified', async ({ db }) => {
  const notified = await watchNotifications(db)
  await db.sql.begin(async (tx) => {
    await tx.unsafe(insert(db, 'q'))
    await sleepOn(db, 'q')
    await tx.unsafe(insert(db, 'q'))
  })
  expect(await notified()).toEqual(['q'])
})

test('B2 rows of one statement that become ready by an update fold into one notification', async ({ db }) => {
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, state) select 'q', 'failed' from generate_series(1, 100)`)
  await sleepOn(db, 'q')
  const notified = await watchNotifications(db)
  await db.sql.unsafe(`update ${db.s}.job set state = 'ready'`)
  expect(await notified()).toEqual(['q'])
})
