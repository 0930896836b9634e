import { expect } from 'vitest'
import { retry } from '../../../src/index.js'
import { test } from '../../support/gates.js'
import { refuse } from '../../support/refusals.js'
import { fence, isPending, nothing, workerRows } from '../../support/stopping.js'
import { until } from '../../support/until.js'

test("E11 until: 'ready' leaves scheduled jobs, and what is to be retried later", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'scheduled', { delayMs: 3_600_000 })
  await bugle.putMany('q', ['works', 'fails'])
  const report = await bugle.drain(
    'q',
    (job) => {
      if (job.payload === 'fails') throw new Error('later')
    },
    { until: 'ready', retryStrategy: { maxAttempts: 4, delaysMs: 3_600_000 } },
  )
  expect(report).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([
    { payload: 'scheduled', state: 'scheduled', attempt: 0 },
    { payload: 'fails', state: 'scheduled', attempt: 1 },
  ])
})

test("E11 until: 'ready' runs what is retried at once, until it has failed", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'fails')
  let runs = 0
  const report = await bugle.drain(
    'q',
    () => {
      runs += 1
      throw new Error('again')
    },
    { retryStrategy: { maxAttempts: 3 } },
  )
  expect(runs).toBe(3)
  expect(report).toEqual({ ...nothing, failed: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'failed', attempt: 3 }])
})

test("E11 until: 'scheduled' waits for scheduled and retried jobs as well", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'scheduled', { delayMs: 400 })
  await bugle.putMany('q', ['retried', 'fails'])
  const seen: string[] = []
  const report = await bugle.drain(
    'q',
    (job) => {
      seen.push(`${job.payload} ${job.attempt}`)
      if (job.payload === 'retried' && job.attempt === 1) return retry({ delayMs: 700 })
      if (job.payload === 'fails') throw new Error('each time')
    },
    { until: 'scheduled', retryStrategy: { maxAttempts: 2, delaysMs: 100 } },
  )
  expect(seen.sort()).toEqual(['fails 1', 'fails 2', 'retried 1', 'retried 2', 'scheduled 1'])
  expect(report).toEqual({ ...nothing, completed: 2, failed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 'fails', state: 'failed' }])
})

test("E11 until: 'scheduled' goes on when a scheduled job puts a further scheduled one", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 2, { delayMs: 150 })
  const seen: unknown[] = []
  const report = await bugle.drain(
    'q',
    async (job, ctx) => {
      seen.push(job.payload)
      if (Number(job.payload) > 0) await ctx.bugle.put('q', Number(job.payload) - 1, { delayMs: 150 })
    },
    { until: 'scheduled' },
  )
  expect(seen).toEqual([2, 1, 0])
  expect(report).toEqual({ ...nothing, completed: 3 })
})

test("E11 until: 'scheduled' ends though due jobs cannot be made ready: they are told of, and stay", async ({ db }) => {
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const ids = await bugle.putMany('q', [1, 2, 3], { delayMs: 50 })
  const bad = [ids[0] ?? '', ids[2] ?? '']
  await refuse(db, 'update', `new.id in (${bad.join()}) and new.state = 'ready'`)
  expect(await bugle.drain('q', () => {}, { until: 'scheduled' })).toEqual({ ...nothing, completed: 1 })
  expect((await db.jobs()).map(({ id, state }) => [id, state])).toEqual(bad.map((id) => [id, 'scheduled']))
  for (const id of bad) {
    expect(errors.all.map(({ error }) => error.message)).toContainEqual(
      expect.stringMatching(`^job ${id} is due and cannot be made ready`),
    )
  }
})

// No notification reports such a cancel: the drain sees it when it next looks at the queue, within half a minute.
// CI runs this test.
test.runIf(process.env.BUGLE_TEST_SLOW)(
  "E11 until: 'scheduled' ends when the last scheduled job is cancelled",
  async ({ db }) => {
    const bugle = db.bugle()
    const id = await bugle.put('q', 1, { delayMs: 3_600_000 })
    const drained = bugle.drain('q', () => {}, { until: 'scheduled' })
    await until(async () => (await workerRows(db)).length > 0)
    await fence(db)
    expect(await isPending(drained)).toBe(true)
    await bugle.cancel(id)
    // The drain looks at the queue again when its due timer fires, at the latest.
    expect(await drained).toEqual(nothing)
  },
  45_000,
)

test("E11 until: 'scheduled' of some kinds ends though jobs of other kinds are scheduled", { timeout: 15_000 }, async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.put('q', 1, { kind: 'ours', delayMs: 100 })
  await bugle.put('q', 2, { kind: 'theirs', delayMs: 3_600_000 })
  expect(await bugle.drain('q', { ours: () => {} }, { until: 'scheduled' })).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 2, state: 'scheduled' }])
})
