import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { reject } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { holdLane, lanesOpenSoon } from '../../support/lane-consumer.js'
import { aborted } from '../../support/stopping.js'
import { until } from '../../support/until.js'

// What a lane holds, and the worker, session or process that holds it is lost.

const laneConsumer = await lanesOpenSoon()
const still = { mostMs: 60_000, patienceMs: 60_000, pauses: false } as const

test('express: a worker that is buried while its lane is open: what it held is acked or runs again, once', async ({
  db,
}) => {
  const ids = await putRows(db, 3_000)
  const ran: string[] = []
  const lost: string[] = []
  let isOver = false
  const go = signal()
  const { bugle, consumer, lanes, untilBegun } = await laneConsumer(db, {
    ...still,
    trusts: 'always',
    // What was claimed durably under the former id is an orphan, and rescued soon.
    bugle: { rescueAfterMs: 300 },
    consume: { concurrency: 4 },
    handler: async ({ id }, { signal }, { isOnLane }) => {
      ran.push(id)
      if (!isOnLane(id) || isOver) return
      // Two are acked, and two are aborted: their rows cannot be kept by a worker that is not there.
      if (ran.filter(isOnLane).length <= 2) return void (await go.promise)
      expect(await aborted({ signal })).toMatchObject({ code: 'LEASE_LOST' })
      lost.push(id)
      throw new Error('aborted')
    },
  })
  const acked = db.collect(bugle, 'job:acked')
  const stale = db.collect(bugle, 'job:stale')
  const workerLost = db.collect(bugle, 'worker:lost')
  const batch = await untilBegun(4)
  const begun = batch.filter(({ part }) => part === 'begun').map(({ claimed }) => claimed.job.id)
  const former = lanes.at(-1)
  await db.sql.unsafe(`delete from ${db.s}.worker`)
  await workerLost.next()
  await until(() => lost.length === 2)
  go.resolve()
  await until(() => former?.batches[0]?.filter(({ part }) => part === 'acked').length === 2)
  isOver = true
  former?.lane.cut()
  await until(() => former?.end)
  expect(former?.end?.is).not.toBe('closed')
  await consumer.idle()
  await until(async () => (await db.jobs()).length === 0)
  // Those that were aborted ran again. The acked ones may have, in the moment in which their rows were free.
  expect(stale.all.map(({ id }) => id)).toEqual(expect.arrayContaining(lost))
  const again = ran.filter((id, at) => ran.indexOf(id) !== at)
  expect(again).toEqual(expect.arrayContaining(lost))
  expect(begun).toEqual(expect.arrayContaining(again))
  expect(new Set(acked.all.map(({ id }) => id))).toEqual(new Set(ids))
  // None under the former id: its claims find no worker.
  expect(lanes.slice(lanes.indexOf(former as never) + 1).every(({ workerId }) => workerId !== former?.workerId)).toBe(
    true,
  )
})

test('express: a handler that blocks the event loop for longer than the session may wait: all settle once', async ({
  db,
}) => {
  const ids = await putRows(db, 1_500)
  const ran: string[] = []
  let blocked = 0
  const { bugle, consumer, lanes } = await laneConsumer(db, {
    trusts: 'always',
    pauses: false,
    bugle: { rescueAfterMs: 300, hungAfterMs: 300 },
    consume: { concurrency: 4 },
    handler: ({ id }, _, { isOnLane }) => {
      ran.push(id)
      if (!isOnLane(id) || blocked === 3) return
      blocked += 1
      const endsAt = performance.now() + 700
      while (performance.now() < endsAt);
    },
  })
  const acked = db.collect(bugle, 'job:acked')
  await consumer.idle()
  await until(async () => (await db.jobs()).length === 0)
  expect(blocked).toBe(3)
  expect(lanes.filter(({ end }) => end !== null && end.is !== 'closed').length).toBeGreaterThan(0)
  expect(new Set(acked.all.map(({ id }) => id))).toEqual(new Set(ids))
  // Where a job has run twice, its missing row counts as that of either run.
  expect(ran.length).toBeLessThan(ids.length + 100)
  expect(new Set(ran)).toEqual(new Set(ids))
})

test("express: the lane's process is ended 20 times in a drain of 5,000: each job is settled once", async ({ db }) => {
  const ids = await putRows(db, 5_000)
  const ran = new Set<string>()
  let isSlow = true
  const { bugle, consumer, lanes, backends } = await laneConsumer(db, {
    trusts: 'always',
    pauses: false,
    patienceMs: 60_000,
    consume: { concurrency: 20 },
    handler: async ({ id }) => {
      ran.add(id)
      // The backlog lasts until they are over.
      if (isSlow) await sleep(5)
      return Number(id) % 100 === 0 ? reject('a hundred') : undefined
    },
  })
  const acked = db.collect(bugle, 'job:acked')
  const failed = db.collect(bugle, 'job:failed')
  const isWorking = (): boolean => (lanes.at(-1)?.batches.length ?? 0) > 0 && lanes.at(-1)?.end === null
  for (let round = 0; round < 20; round += 1) {
    await until(isWorking)
    const { length } = lanes
    await db.kill(await backends())
    // A moment of its own for each: while it claims, runs or writes.
    await until(() => lanes[length - 1]?.end)
    await sleep(round)
  }
  isSlow = false
  await consumer.idle()
  await until(() => acked.all.length + failed.all.length >= ids.length)
  // Some were about to end when they were killed.
  expect(lanes.filter(({ end }) => end?.is === 'lost').length).toBeGreaterThan(4)
  const hundreds = ids.filter((id) => Number(id) % 100 === 0)
  expect(new Set(failed.all.map(({ id }) => id))).toEqual(new Set(hundreds))
  expect(new Set([...hundreds, ...acked.all.map(({ id }) => id)])).toEqual(new Set(ids))
  expect((await db.jobs()).map(({ id, state }) => [id, state])).toEqual(hundreds.map((id) => [id, 'failed']))
  expect(ran).toEqual(new Set(ids))
})

test('express: after the loss of its session a consumer has no lane for a minute, and drains all the same', async ({
  db,
}) => {
  const ids = await putRows(db, 1_500)
  const go = signal()
  const ran: string[] = []
  const { consumer, lanes, untilBegun, untilOpen } = await laneConsumer(db, {
    mostMs: 60_000,
    patienceMs: 60_000,
    consume: { concurrency: 2 },
    handler: async ({ id }, _, { isOnLane }) => {
      ran.push(id)
      if (isOnLane(id)) await go.promise
    },
  })
  await untilBegun(2)
  await db.kill([await untilOpen()])
  await until(() => lanes[0]?.end)
  go.resolve()
  await consumer.idle()
  expect(lanes.map(({ end }) => end?.is)).toEqual(['lost'])
  expect(await db.jobs()).toEqual([])
  expect(new Set(ran)).toEqual(new Set(ids))
  // Each of the two may have been claimed in the moment in which its row was free: at least once.
  expect(ran.length).toBeLessThanOrEqual(ids.length + 2)
})

test('express: heartbeats give nothing back that a lane holds, keeps or has acked', async ({ db }) => {
  const ids = await putRows(db, 1_500)
  const go = signal()
  const ran: string[] = []
  const held = holdLane('express_commit')
  const { bugle, consumer, lanes } = await laneConsumer(db, {
    ...held,
    bugle: { rescueAfterMs: 300 },
    consume: { concurrency: 2 },
    handler: async ({ id }, _, { isOnLane }) => {
      ran.push(id)
      if (isOnLane(id)) await go.promise
    },
  })
  const stale = db.collect(bugle, 'job:stale')
  // The commit is durable, and nobody here knows it: the rows are running ones.
  await held.waits
  const [row] = await db.sql.unsafe<{ seen_at: string }[]>(`select seen_at::text from ${db.s}.worker`)
  let beats = 0
  let last = row?.seen_at
  await until(async () => {
    const [now] = await db.sql.unsafe<{ seen_at: string }[]>(`select seen_at::text from ${db.s}.worker`)
    if (now?.seen_at !== last) beats += 1
    last = now?.seen_at
    return beats >= 4
  })
  const running = (await db.jobs()).filter(({ state }) => state === 'running')
  expect(running.map(({ attempt }) => attempt)).toEqual(running.map(() => 1))
  expect(running.length).toBeGreaterThanOrEqual(2)
  held.release()
  go.resolve()
  await consumer.idle()
  expect(lanes.length).toBeGreaterThan(0)
  expect(stale.all).toEqual([])
  expect(ran.length).toBe(ids.length)
  expect(await db.jobs()).toEqual([])
})
