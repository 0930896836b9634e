import { expect } from 'vitest'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { untilAsleep, untilAwake } from '../../support/sleepers.js'
import { until } from '../../support/until.js'
import { countNotifications } from '../../support/wakeups.js'

/** An instance by a role that may be kept from logging in: sessions that it has go on, and no new one is made. */
async function byOwnRole(db: TestDatabase, options: { sweepMs?: number } = {}) {
  const role = `role_${db.schema.slice(5)}`
  await db.sql.unsafe(`create role ${role} superuser login`)
  const url = new URL(db.connectionString)
  url.username = role
  const bugle = db.bugle({ connectionString: url.href, ...options })
  return {
    bugle,
    mayLogIn: (may: boolean) => db.sql.unsafe(`alter role ${role} ${may ? 'login' : 'nologin'}`),
    async end() {
      await bugle.close()
      await db.sql.unsafe(`drop role ${role}`)
    },
  }
}

test('deaf: while nobody listens no writer notifies, sweeps find what is put, and then a new lock is taken', async ({
  db,
}) => {
  const { bugle, mayLogIn, end } = await byOwnRole(db)
  const health = db.collect(bugle, 'listener:health')
  const unprotected = db.collect(bugle, 'consumer:unprotected')
  let ran = signal<unknown>()
  const consumers = await Promise.all(
    ['q', 'other'].map((queue) => bugle.consume(queue, ({ payload }) => ran.resolve(payload))),
  )
  for (const { queue } of consumers) await untilAsleep(db, queue)
  const notifications = await countNotifications(db)
  const control = await db.backends('control')

  await mayLogIn(false)
  await db.kill(await db.backends('listener'))
  for (const { queue } of consumers) await untilAwake(db, queue)
  // The session is there still, and whoever wakes does not take the lock again.
  expect(await db.backends('control')).toEqual(control)
  const producer = db.bugle()
  for (const queue of ['q', 'other', 'q']) {
    ran = signal()
    await producer.put(queue, `unheard in ${queue}`)
    expect(await ran.promise).toBe(`unheard in ${queue}`)
    await untilAwake(db, queue)
  }
  await notifications.settled()
  expect(notifications.count).toBe(0)

  await mayLogIn(true)
  for (const { queue } of consumers) await untilAsleep(db, queue)
  expect(health.all.map(({ to }) => to)).toEqual(['live', 'polling', 'live'])
  for (const { queue } of consumers) {
    ran = signal()
    await bugle.put(queue, `heard in ${queue}`)
    expect(await ran.promise).toBe(`heard in ${queue}`)
  }
  await notifications.settled()
  expect(notifications.count).toBe(2)
  expect(unprotected.all).toEqual([])
  for (const consumer of consumers) await consumer.idle()
  expect(await db.jobs()).toEqual([])
  await notifications.end()
  await end()
})

test('deaf: a lock whose answer comes when the listener is lost is given up, and the session stays', async ({ db }) => {
  const { bugle, mayLogIn, end } = await byOwnRole(db)
  const health = db.collect(bugle, 'listener:health')
  const stranger = db.connect()
  await stranger.unsafe(`select pg_advisory_lock('${db.s}.job'::regclass::oid::int, hashtext('q'))`)
  const consumer = await bugle.consume('q', () => {})
  expect((await health.next()).to).toBe('live')
  const control = await db.backends('control')
  const isTaking = async () =>
    (await db.sql`select from pg_locks where pid = any (${control}) and locktype = 'advisory' and not granted`).length >
    0
  // It asks again every five seconds, and for a second each time.
  await until(isTaking)
  await mayLogIn(false)
  await db.kill(await db.backends('listener'))
  expect((await health.next()).to).toBe('polling')
  await stranger.unsafe('select pg_advisory_unlock_all()')
  await until(async () => !(await isTaking()))
  await untilAwake(db, 'q')
  await consumer.idle()
  await untilAwake(db, 'q')
  expect(await db.backends('control')).toEqual(control)
  await mayLogIn(true)
  await untilAsleep(db, 'q')
  await end()
})
