import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// After the end of a lane, or of a handler on it, somebody still waits for one of its rows.

const laneConsumer = await lanesOpenSoon()

/**
 * A lane is lost while a transaction of others waits for one of its rows.
 *
 * @returns null: the consumer had that row again before the others
 */
async function lostToOthers(db: TestDatabase) {
  const others = db.connect()
  const made = await laneConsumer(db, {
    mostMs: 60_000,
    patienceMs: 60_000,
    consume: { concurrency: 2 },
    // The batch stays until its lane is lost.
    handler: async ({ id }, _context, { isOnLane, lanes: [first] }) => {
      if (isOnLane(id)) await until(() => first?.lane.state === 'lost' || first?.end)
    },
  })
  const [held] = (await made.untilBegun(2)).map(({ claimed }) => claimed.job.id)
  const [own] = await others.unsafe<{ pid: number }[]>('select pg_backend_pid() as pid')
  await others.unsafe('begin').simple()
  const text = `update ${db.s}.job set max_attempts = 7 where id = ${held} returning state`
  const updated = others.unsafe<{ state: string }[]>(text).execute()
  await until(async () => {
    const rows = await db.sql`select from pg_locks where not granted and pid = ${own?.pid ?? 0}`
    return rows.length > 0
  })
  await db.kill([await made.untilOpen()])
  const [row] = await updated
  if (row?.state === 'ready') return { ...made, others }
  await others.unsafe('rollback').simple()
  await made.bugle.close()
  await db.sql.unsafe(`delete from ${db.s}.job`)
  return null
}

test('express: while a transaction of others has a lost lane’s row, a consumer goes on, and may be paused', async ({
  db,
}) => {
  const { consumer, lanes, others, backends } = await until(async () => {
    await putRows(db, 3_000)
    return lostToOthers(db)
  })
  // All but that one are done, though its lane waits for that transaction.
  await until(async () => (await db.jobs()).length === 1)
  expect(lanes[0]?.lane.state).toBe('lost')
  await consumer.pause()
  expect(lanes[0]?.end).toBe(null)
  await others.unsafe('rollback').simple()
  consumer.resume()
  await until(async () => (await db.jobs()).length === 0)
  await consumer.idle()
  expect(await backends()).toEqual([])
})

test('express: ctx.ack(tx) after the end of its handler is refused, and leaves no transaction open', async ({ db }) => {
  await putRows(db, 1_500)
  const ends: Promise<unknown>[] = []
  const { consumer } = await laneConsumer(db, {
    consume: { concurrency: 5 },
    handler: ({ id }, ctx, { isOnLane }) => {
      if (ends.length >= 2 || !isOnLane(id)) return
      const isLate = ends.length === 1
      ends.push(
        db
          .connect()
          .begin(async (tx) => {
            if (isLate) await sleep(100)
            await ctx.ack(tx as never)
          })
          .then(
            () => 'committed',
            (error) => error.code,
          ),
      )
    },
  })
  await until(() => ends.length === 2)
  expect(await Promise.all(ends)).toEqual(['LEASE_LOST', 'LEASE_LOST'])
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('express: jobs that no lane takes are claimed beside lanes in ever larger claims', async ({ db }) => {
  await putRows(db, 20_000)
  const leastBeside: number[] = []
  const ran: string[] = []
  const { consumer, lanes, isOnLane } = await laneConsumer(db, {
    together: 2,
    pauses: false,
    consume: { concurrency: 20 },
    handler: ({ id, key }) => {
      if (key !== null) ran.push(id)
      if (key !== null && lanes.some(({ end }) => end === null)) leastBeside.push(lanes.length)
    },
  })
  await until(() => lanes.length === 2)
  const before = consumer.stats().completed
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload, priority, key)
    select 'q', '1', 10, 'k' || n from generate_series(1, 300) as n`)
  await until(() => ran.length === 300)
  // One per claim, and 50 ms from one claim to the next, would take 15 s: all others would be done long before.
  expect(consumer.stats().completed - before).toBeLessThan(20_000)
  expect(leastBeside.length).toBeGreaterThan(100)
  expect(ran.some(isOnLane)).toBe(false)
  await consumer.idle()
})

test('express: jobs that outlast their batch, and fill all slots, are followed by others', async ({ db }) => {
  await putRows(db, 1_000)
  let wasHeld = false
  const { consumer } = await laneConsumer(db, {
    consume: { concurrency: 2 },
    // Both slots run on as running jobs, and end together: their acks wait for the next claim.
    handler: async ({ id }, _context, { isOnLane, lanes }) => {
      if (wasHeld || !isOnLane(id)) return
      await until(() => lanes[0]?.batches[0]?.filter(({ part }) => part === 'kept').length === 2)
      await sleep(50)
      wasHeld = true
    },
  })
  await consumer.idle()
  expect(consumer.stats().completed).toBe(1_000)
})
