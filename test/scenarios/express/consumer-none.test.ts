import { expect } from 'vitest'
import { type BugleOptions, type ConsumeOptions, createBugle } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// Where a consumer has no lane, and what is seen of one that has.

const laneConsumer = await lanesOpenSoon()

interface Case {
  readonly bugle?: Omit<BugleOptions, 'logger'>
  readonly consume?: ConsumeOptions
  /** With it a lane must open, or this test proves nothing. */
  readonly opens?: true
}

const cases: Record<string, Case> = {
  'default options': { opens: true },
  "keep: 'all'": { consume: { keep: 'all' } as ConsumeOptions },
  'prefetch: 200': { consume: { prefetch: 200 } },
  'prefetch: 0': { consume: { prefetch: 0 } },
  'express: false for the consumer': { consume: { express: false } },
  'express: false for the instance': { bugle: { express: false } },
  'express: true for the consumer, not for the instance': {
    bugle: { express: false },
    consume: { express: true },
    opens: true,
  },
  'listen: false': { bugle: { listen: false, sweepMs: 1_000 } },
  'prepare: false': { bugle: { prepare: false } },
}

for (const [what, { bugle, consume, opens }] of Object.entries(cases)) {
  test(`express: ${what}: ${opens ? 'a lane opens' : 'no lane opens'}`, async ({ db }) => {
    await putRows(db, 2_000)
    let ran = 0
    const here = await laneConsumer(db, {
      ...(bugle && { bugle }),
      consume: { concurrency: 10, ...consume },
      trusts: 'always',
      handler: () => {
        ran += 1
      },
    })
    await here.consumer.idle()
    expect(ran).toBe(2_000)
    expect(here.lanes.length > 0).toBe(opens ?? false)
  })
}

test('express: handlers by kind: no lane opens', async ({ db }) => {
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, kind, payload) select 'q', 'a', '1' from generate_series(1, 2000)`)
  let ran = 0
  const here = await laneConsumer(db, {
    trusts: 'always',
    handler: () => {},
    handlers: {
      a: () => {
        ran += 1
      },
    },
  })
  await here.consumer.idle()
  expect(ran).toBe(2_000)
  expect(here.lanes).toEqual([])
})

test('express: a server that has run for less than a minute: no lane opens', async ({ db }) => {
  await putRows(db, 2_000)
  let ran = 0
  const here = await laneConsumer(db, {
    upMs: 1_000,
    handler: () => {
      ran += 1
    },
  })
  await here.consumer.idle()
  expect(ran).toBe(2_000)
  expect(here.lanes).toEqual([])
})

test('express: a backlog of jobs with keys: no lane opens', async ({ db }) => {
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload, key) select 'q', '1', 'k' || n from generate_series(1, 2000) as n`)
  let ran = 0
  const here = await laneConsumer(db, {
    handler: () => {
      ran += 1
    },
  })
  await here.consumer.idle()
  expect(ran).toBe(2_000)
  expect(here.lanes).toEqual([])
})

test('express: a step of so many jobs has no lane, and a drain has one', async ({ db }) => {
  const here = await laneConsumer(db, { trusts: 'always', handler: () => {} })
  await here.consumer.stop()
  await putRows(db, 3_500)
  let ran = 0
  const handler = () => {
    ran += 1
  }
  await here.step(handler, 1_500)
  expect(ran).toBe(1_500)
  expect(here.lanes).toEqual([])
  expect((await db.jobs()).length).toBe(2_000)
  await here.bugle.drain('q', handler)
  expect(ran).toBe(3_500)
  expect(here.lanes.length).toBeGreaterThan(0)
  expect(await db.jobs()).toEqual([])
})

test('express: jobs of a lane are seen as ready, and counted by their consumer as running', async ({ db }) => {
  await putRows(db, 1_500)
  const go = signal()
  const here = await laneConsumer(db, {
    mostMs: 60_000,
    patienceMs: 60_000,
    consume: { concurrency: 3 },
    handler: async ({ id }, _, { isOnLane }) => {
      if (isOnLane(id)) await go.promise
    },
  })
  const batch = await here.untilBegun(3)
  const begun = batch.filter(({ part }) => part === 'begun').map(({ claimed }) => claimed.job.id)
  const other = createBugle({ connectionString: db.connectionString, schema: db.schema, logger: false })
  const [id = ''] = begun
  expect(await other.job(id)).toMatchObject({ state: 'ready', attempt: 0 })
  const page = await other.jobs({ queue: 'q', state: 'ready' })
  expect(page.jobs.length).toBeGreaterThan(0)
  expect((await other.stats()).queues).toMatchObject([{ queue: 'q' }])
  await other.close()
  expect(here.consumer.activeJobs).toBe(3)
  expect(here.consumer.stats()).toMatchObject({ active: 3, concurrency: 3 })
  go.resolve()
  await here.consumer.idle()
  expect(here.consumer.stats()).toMatchObject({ active: 0, completed: 1_500 })
  await until(() => here.lanes.at(-1)?.end)
})
