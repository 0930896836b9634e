import { expect } from 'vitest'
import { retry } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { holdLane, type LaneConsumer, lanesOpenSoon } from '../../support/lane-consumer.js'
import { aborted } from '../../support/stopping.js'
import { until } from '../../support/until.js'

// A consumer is stopped at each moment of its lane: no row is lost, and what has not begun is as it was.

const laneConsumer = await lanesOpenSoon()
const endless = { graceMs: Number.POSITIVE_INFINITY, abortMs: Number.POSITIVE_INFINITY } as const
const byForce = { graceMs: 0, abortMs: 0 } as const
/** The batch stays as it is until it is cut, and what is held stays so. */
const still = { mostMs: 60_000, patienceMs: 60_000 } as const

/** All but those that were acked are there, ready, and have not run. */
async function expectRest(db: TestDatabase, ids: readonly string[], acked: ReadonlySet<string>): Promise<void> {
  const left = await db.jobs()
  expect(left.map(({ id }) => id)).toEqual(ids.filter((id) => !acked.has(id)))
  expect(left.filter(({ state, attempt, worker_id }) => state !== 'ready' || attempt !== 0 || worker_id)).toEqual([])
}

/** The worker leaves when nothing of it is left. */
async function untilGone(db: TestDatabase, { backends }: LaneConsumer): Promise<void> {
  await until(async () => (await db.sql.unsafe(`select from ${db.s}.worker`)).length === 0)
  await until(async () => (await backends()).length === 0)
}

for (const at of ['opening', 'express_claim'] as const) {
  test(`express: a stop while a lane waits for its ${at}: none of its jobs begins`, async ({ db }) => {
    const ids = await putRows(db, 1_500)
    const held = holdLane(at)
    const ran = new Set<string>()
    const here = await laneConsumer(db, { ...held, handler: ({ id }) => void ran.add(id) })
    await held.waits
    const stopped = here.consumer.stop(endless)
    held.release()
    const { completed, ...rest } = await stopped
    expect(rest).toMatchObject({ failed: 0, interrupted: 0, abandoned: [] })
    expect(completed).toBe(ran.size)
    expect(here.lanes.flatMap(({ batches }) => batches)).toEqual([])
    await expectRest(db, ids, ran)
    await untilGone(db, here)
  })

  test(`express: a stop by force while a lane waits for its ${at} is over before it, and leaves after it`, async ({
    db,
  }) => {
    const ids = await putRows(db, 1_500)
    const held = holdLane(at)
    const ran = new Set<string>()
    const here = await laneConsumer(db, { ...held, handler: ({ id }) => void ran.add(id) })
    await held.waits
    // What it abandons was claimed durably.
    expect(await here.consumer.stop(byForce)).toMatchObject({ failed: 0, interrupted: 0 })
    held.release()
    await until(() => here.lanes[0]?.end)
    expect(here.lanes.flatMap(({ batches }) => batches)).toEqual([])
    await untilGone(db, here)
    await expectRest(db, ids, ran)
  })
}

/**
 * A lane whose batch has an acked job, a kept one, two that have begun, and held ones.
 *
 * @param wait - of the two
 */
async function mixedBatch(db: TestDatabase, wait: (signal: AbortSignal) => Promise<unknown>) {
  const ids = await putRows(db, 1_500)
  const acked = new Set<string>()
  const onLane: string[] = []
  const here = await laneConsumer(db, {
    ...still,
    consume: { concurrency: 3 },
    handler: async ({ id }, { signal }, { isOnLane }) => {
      if (isOnLane(id) && onLane.push(id) !== 1) {
        if (onLane.length === 2) return retry({ delayMs: 3_600_000 })
        await wait(signal)
      }
      acked.add(id)
    },
  })
  const batch = await until(() => {
    const [first] = here.lanes[0]?.batches ?? []
    return first?.filter(({ part }) => part === 'begun').length === 2 && first
  })
  const countOf = (which: string) => batch.filter(({ part }) => part === which).length
  expect([countOf('acked'), countOf('kept'), countOf('begun')]).toEqual([1, 1, 2])
  expect(countOf('held')).toBeGreaterThan(50)
  return { ...here, ids, acked, onLane }
}

test('express: a stop with a batch under way settles each of its jobs by its part', async ({ db }) => {
  const go = signal()
  const here = await mixedBatch(db, () => go.promise)
  const stopped = here.consumer.stop(endless)
  await until(() => here.lanes[0]?.end)
  go.resolve()
  const { onLane, acked, ids } = here
  expect(await stopped).toMatchObject({ completed: acked.size, failed: 0, interrupted: 0, abandoned: [] })
  expect(onLane.length).toBe(4)
  const retried = onLane[1]
  expect((await db.jobs()).find(({ id }) => id === retried)).toMatchObject({ state: 'scheduled', attempt: 1 })
  await db.sql.unsafe(`delete from ${db.s}.job where state = 'scheduled'`)
  await expectRest(db, ids, new Set([...acked, retried ?? '']))
  await untilGone(db, here)
})

test('express: a stop without grace interrupts what has begun on a lane: it is ready again, attempt and all', async ({
  db,
}) => {
  const here = await mixedBatch(db, async (signal) => {
    throw await aborted({ signal })
  })
  const { onLane, acked, ids } = here
  expect(await here.consumer.stop({ graceMs: 0 })).toMatchObject({
    completed: acked.size,
    failed: 0,
    interrupted: 2,
    abandoned: [],
  })
  await db.sql.unsafe(`delete from ${db.s}.job where state = 'scheduled'`)
  await expectRest(db, ids, new Set([...acked, onLane[1] ?? '']))
  await untilGone(db, here)
})

test('express: a stop by force abandons what has begun on a lane: its rows run on, and are settled later', async ({
  db,
}) => {
  const go = signal()
  const here = await mixedBatch(db, () => go.promise)
  const { onLane, ids, acked } = here
  const { abandoned } = await here.consumer.stop(byForce)
  expect(abandoned.map(({ id }) => id)).toEqual(expect.arrayContaining(onLane.slice(2)))
  await until(() => here.lanes[0]?.end)
  // The retry is written after the lane's commit.
  const running = await until(async () => {
    const found = (await db.jobs()).filter(({ state }) => state === 'running')
    return found.length === 2 && found
  })
  expect(running.map(({ id }) => id)).toEqual(onLane.slice(2))
  expect(running.every(({ attempt }) => attempt === 1)).toBe(true)
  go.resolve()
  await untilGone(db, here)
  await db.sql.unsafe(`delete from ${db.s}.job where state = 'scheduled'`)
  await expectRest(db, ids, new Set([...acked, onLane[1] ?? '']))
})

test('express: a close of the instance with a batch under way loses no job', async ({ db }) => {
  const go = signal()
  const here = await mixedBatch(db, () => go.promise)
  const { onLane, ids, acked } = here
  const closed = here.bugle.close(endless)
  go.resolve()
  await closed
  await untilGone(db, here)
  await db.sql.unsafe(`delete from ${db.s}.job where state = 'scheduled'`)
  await expectRest(db, ids, new Set([...acked, onLane[1] ?? '']))
})

test('express: a stop while a lane waits for its commit waits too, and what was acked is gone', async ({ db }) => {
  const ids = await putRows(db, 1_500)
  const held = holdLane('express_commit')
  const ran = new Set<string>()
  const here = await laneConsumer(db, { ...held, handler: ({ id }) => void ran.add(id) })
  await held.waits
  const stopped = here.consumer.stop(endless)
  held.release()
  const { completed, ...rest } = await stopped
  expect(rest).toMatchObject({ failed: 0, interrupted: 0, abandoned: [] })
  expect(completed).toBe(ran.size)
  await expectRest(db, ids, ran)
  await untilGone(db, here)
})

test('express: a stop by force while a lane waits for its commit names its jobs, which are gone all the same', async ({
  db,
}) => {
  const ids = await putRows(db, 1_500)
  const held = holdLane('express_commit')
  const ran = new Set<string>()
  const here = await laneConsumer(db, { ...held, handler: ({ id }) => void ran.add(id) })
  await held.waits
  const [batch = []] = here.lanes[0]?.batches ?? []
  const acked = batch.filter(({ part }) => part === 'acked').map(({ claimed }) => claimed.job.id)
  expect(acked.length).toBeGreaterThan(0)
  const { abandoned } = await here.consumer.stop(byForce)
  expect(abandoned.map(({ id }) => id)).toEqual(expect.arrayContaining(acked))
  held.release()
  await untilGone(db, here)
  await expectRest(db, ids, ran)
})
