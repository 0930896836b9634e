import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// What matters most of the express lane; the rest is in scenarios/express.

const laneConsumer = await lanesOpenSoon()

test('express: a consumer drains 3,000 jobs over a lane, and runs each once', async ({ db }) => {
  const ids = await putRows(db, 3_000)
  const ran: string[] = []
  const { consumer, bugle, lanes } = await laneConsumer(db, { handler: ({ id }) => void ran.push(id) })
  await consumer.idle()
  expect(ran.length).toBe(3_000)
  expect(new Set(ran)).toEqual(new Set(ids))
  expect(await db.jobs()).toEqual([])
  const claimed = lanes.flatMap(({ batches }) => batches).flat()
  expect(claimed.length).toBeGreaterThan(1_000)
  expect(consumer.stats()).toMatchObject({ completed: 3_000, failed: 0, active: 0 })
  await bugle.close()
})

test('express: a stop in the middle of a batch settles what has begun, and lets go of the rest', async ({ db }) => {
  const ids = await putRows(db, 1_500)
  const ran = new Set<string>()
  const go = signal()
  const { bugle, consumer, untilBegun } = await laneConsumer(db, {
    mostMs: 60_000,
    patienceMs: 60_000,
    consume: { concurrency: 4 },
    handler: async ({ id }, _, { isOnLane }) => {
      ran.add(id)
      if (isOnLane(id)) await go.promise
    },
  })
  await untilBegun(4)
  const stopped = consumer.stop()
  go.resolve()
  const report = await stopped
  expect(report).toMatchObject({ completed: ran.size, failed: 0, interrupted: 0, abandoned: [] })
  const left = await db.jobs()
  expect(left.map(({ id }) => id)).toEqual(ids.filter((id) => !ran.has(id)))
  expect(left.every(({ state, attempt, worker_id }) => state === 'ready' && attempt === 0 && worker_id === null)).toBe(
    true,
  )
  await bugle.close()
  await until(async () => (await db.sql.unsafe(`select from ${db.s}.worker`)).length === 0)
})
