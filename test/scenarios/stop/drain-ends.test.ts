import { expect } from 'vitest'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { aborted, fence, nothing, workerRows } from '../../support/stopping.js'
import { until } from '../../support/until.js'

for (const until of ['ready', 'scheduled'] as const) {
  test(`E11 a paused queue ends a drain until '${until}' at once`, async ({ db }) => {
    const bugle = db.bugle()
    await bugle.put('q', 1)
    await bugle.put('q', 2, { delayMs: 100 })
    await bugle.pause('q')
    expect(await bugle.drain('q', () => expect.unreachable(), { until })).toEqual(nothing)
    expect(await db.jobs()).toMatchObject([{ attempt: 0 }, { attempt: 0 }])
  })
}

test('E11 a queue that is paused while it is drained ends the drain, after what runs', async ({ db, gate }) => {
  const bugle = db.bugle()
  await bugle.putMany('q', [1, 2, 3])
  const begun = signal()
  const end = gate()
  const drained = bugle.drain(
    'q',
    async () => {
      begun.resolve()
      await end.promise
    },
    { concurrency: 1 },
  )
  await begun.promise
  await bugle.pause('q')
  end.resolve()
  expect(await drained).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'ready' }, { state: 'ready' }])
})

test('E11 the option `signal` stops a drain with its own times: what ran is interrupted, the rest stays', async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.putMany('q', [1, 2])
  const started = db.collect(bugle, 'consumer:started')
  const controller = new AbortController()
  const begun = signal()
  const drained = bugle.drain(
    'q',
    async (_job, ctx) => {
      begun.resolve()
      throw await aborted(ctx)
    },
    { concurrency: 1, signal: controller.signal, graceMs: 0, abortMs: 30_000 },
  )
  await begun.promise
  // Before the start is over, an abort would refuse the drain.
  await started.next()
  controller.abort()
  expect(await drained).toEqual({ ...nothing, interrupted: 1 })
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
})

test('E11 the option `signal` ends a drain that waits for what is scheduled, and one aborted before refuses', async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.put('q', 1, { delayMs: 3_600_000 })
  const controller = new AbortController()
  const drained = bugle.drain('q', () => {}, { until: 'scheduled', signal: controller.signal })
  await until(async () => (await workerRows(db)).length > 0)
  await fence(db)
  controller.abort()
  expect(await drained).toEqual(nothing)
  await expect(bugle.drain('q', () => {}, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  expect(await workerRows(db)).toEqual([])
})

test('E11 close ends a drain', async ({ db }) => {
  const bugle = db.bugle()
  const started = db.collect(bugle, 'consumer:started')
  await bugle.putMany('q', [1, 2])
  const begun = signal()
  const drained = bugle.drain(
    'q',
    async (_job, ctx) => {
      begun.resolve()
      throw await aborted(ctx)
    },
    { concurrency: 1 },
  )
  await begun.promise
  await started.next()
  const closed = bugle.close({ graceMs: 0, abortMs: 30_000 })
  expect(await drained).toEqual({ ...nothing, interrupted: 1 })
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
  await closed
})
