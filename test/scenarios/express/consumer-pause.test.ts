import { expect } from 'vitest'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { holdLane, type LaneConsumer, lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// A pause, and a gate that closes, while a lane is open: nothing begins after it, and what was held is free.

const laneConsumer = await lanesOpenSoon()
const still = { mostMs: 60_000, patienceMs: 60_000, pauses: false } as const

/** A lane in two slots: both have begun, and wait for `go`. */
async function twoBegun(db: TestDatabase, more: Partial<Parameters<typeof laneConsumer>[1]> = {}) {
  const ids = await putRows(db, 1_500)
  const go = signal()
  const ran: string[] = []
  const here = await laneConsumer(db, {
    ...still,
    consume: { concurrency: 2 },
    handler: async ({ id }, _, { isOnLane }) => {
      ran.push(id)
      if (isOnLane(id)) await go.promise
    },
    ...more,
  })
  await here.untilBegun(2)
  return { ...here, ids, go, ran }
}

/** Not one row is locked or running, and all that has not run is ready: what was held goes back by a statement. */
async function expectRest(db: TestDatabase, ids: readonly string[], ran: readonly string[]): Promise<void> {
  const rest = ids.filter((id) => !ran.includes(id))
  const free = await until(async () => {
    const rows = await db.sql.unsafe<{ id: string }[]>(
      `select id from ${db.s}.job where state = 'ready' order by id for update skip locked`,
    )
    return rows.length >= rest.length && rows
  })
  expect(free.map(({ id }) => id)).toEqual(rest)
}

async function expectAllOnce(db: TestDatabase, { consumer }: LaneConsumer, ids: readonly string[], ran: string[]) {
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  expect(ran.length).toBe(ids.length)
  expect(new Set(ran)).toEqual(new Set(ids))
}

test('express: a pause of the consumer ends the lane: what has begun goes on, and the rest is free', async ({ db }) => {
  const here = await twoBegun(db)
  const { consumer, lanes, backends, ids, go, ran } = here
  await consumer.pause()
  expect(lanes[0]?.end).toEqual({ is: 'closed' })
  expect(await backends()).toEqual([])
  const begun = [...ran]
  await expectRest(db, ids, begun)
  go.resolve()
  await until(() => consumer.activeJobs === 0)
  expect(ran).toEqual(begun)
  consumer.resume()
  await expectAllOnce(db, here, ids, ran)
  expect(lanes.length).toBeGreaterThan(1)
})

test('express: a pause of the queue ends the lane: what has begun goes on, and the rest is free', async ({ db }) => {
  const here = await twoBegun(db)
  const { bugle, consumer, lanes, ids, go, ran } = here
  expect(await bugle.pause('q')).toBe(true)
  await until(() => lanes[0]?.end)
  expect(lanes[0]?.end).toEqual({ is: 'closed' })
  go.resolve()
  await until(() => consumer.activeJobs === 0)
  const begun = [...ran]
  await expectRest(db, ids, begun)
  expect(await bugle.resume('q')).toBe(true)
  await expectAllOnce(db, here, ids, ran)
})

test('express: a pause of the queue that only the lane has seen: its next claim takes nothing', async ({ db }) => {
  const ids = await putRows(db, 3_000)
  const ran: string[] = []
  let isPaused = false
  const here = await laneConsumer(db, {
    handler: async ({ id }, _, { isOnLane }) => {
      ran.push(id)
      if (isOnLane(id) && !isPaused) {
        isPaused = true
        await db.sql.unsafe(`
          insert into ${db.s}.queue (name, paused_at) values ('q', now())
          on conflict (name) do update set paused_at = coalesce(queue.paused_at, now())`)
      }
    },
  })
  await until(() => here.lanes[0]?.end)
  await until(() => here.consumer.activeJobs === 0)
  expect(here.lanes.length).toBe(1)
  expect(ran.length).toBeLessThan(3_000)
  await expectRest(db, ids, ran)
  await here.bugle.resume('q')
  await expectAllOnce(db, here, ids, ran)
})

test('express: nothing begins on a lane while the gate is closed, and the lane ends', async ({ db }) => {
  const lag: { isLagging: boolean; opened?: () => void } = { isLagging: false }
  const here = await twoBegun(db, { mostMs: 20, lag })
  const { lanes, consumer, ids, go, ran } = here
  lag.isLagging = true
  const begun = [...ran]
  go.resolve()
  await until(() => lanes[0]?.end)
  await until(() => consumer.activeJobs === 0)
  expect(ran).toEqual(begun)
  expect(lanes.length).toBe(1)
  lag.isLagging = false
  lag.opened?.()
  await expectAllOnce(db, here, ids, ran)
})

for (const [at, title] of [
  ['opening', 'a pause while a lane is being opened: it claims nothing'],
  ['express_claim', 'a pause while a claim of a lane is on its way: what it brings is free again'],
] as const) {
  test(`express: ${title}`, async ({ db }) => {
    const ids = await putRows(db, 1_500)
    const held = holdLane(at)
    const ran: string[] = []
    const here = await laneConsumer(db, { ...held, handler: ({ id }) => void ran.push(id) })
    await held.waits
    const paused = here.consumer.pause()
    held.release()
    await paused
    expect(here.lanes[0]?.batches).toEqual([])
    await until(() => here.consumer.activeJobs === 0)
    await expectRest(db, ids, ran)
    here.consumer.resume()
    await expectAllOnce(db, here, ids, ran)
  })
}
