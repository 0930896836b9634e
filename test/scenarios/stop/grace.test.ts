import { expect } from 'vitest'
import { signal } from '../../support/database.js'
import { interruptible, test } from '../../support/running-job.js'
import { fence, isPending, nothing, untilSeenAgain } from '../../support/stopping.js'

for (const times of [{ graceMs: 60_000 }, { graceMs: 0, abortMs: 60_000 }]) {
  const given = JSON.stringify(times)
  test(`E3a ${given}: a handler that yields and ignores its signal is waited for and acked; no job is claimed`, async ({
    db,
    runningJob,
  }) => {
    let runs = 0
    const { bugle, consumer, end } = await runningJob({
      handler: async (_job, _ctx, untilEnd) => {
        runs += 1
        await untilEnd
      },
      payload: 'first',
    })
    const stopped = consumer.stop(times)
    expect(consumer.isRunning).toBe(false)
    // A claim that was in flight has been answered.
    await fence(db)
    const later = await bugle.put('q', 'later')
    await fence(db)
    expect(await isPending(stopped)).toBe(true)
    expect(consumer.activeJobs).toBe(1)
    end.resolve()
    expect(await stopped).toEqual({ ...nothing, completed: 1 })
    expect(runs).toBe(1)
    expect(await db.jobs()).toMatchObject([{ id: later, state: 'ready', attempt: 0 }])
  })
}

test('E5 a job that ends within the grace is not aborted', async ({ db, runningJob }) => {
  const wasAborted = signal<boolean>()
  const { consumer, end } = await runningJob({
    handler: async (_job, ctx, untilEnd) => {
      const { signal: own } = ctx
      await untilEnd
      wasAborted.resolve(own.aborted)
    },
  })
  const stopped = consumer.stop({ graceMs: 60_000 })
  await fence(db)
  end.resolve()
  expect(await wasAborted.promise).toBe(false)
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
})

test('E5 a handler that fails by itself within the grace has failed, and was not interrupted', async ({
  db,
  runningJob,
}) => {
  const { consumer, end } = await runningJob({
    handler: async (_job, ctx, untilEnd) => {
      void ctx.signal
      await untilEnd
      throw new Error('its own')
    },
  })
  const stopped = consumer.stop({ graceMs: 60_000 })
  end.resolve()
  expect(await stopped).toEqual(nothing)
  expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { message: 'its own' } }])
})

test('E9 during the grace heartbeats go on, and a cancel arrives', async ({ db, runningJob }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const failed = db.collect(bugle, 'job:failed')
  const { consumer, id } = await runningJob({ bugle, handler: interruptible })
  const stopped = consumer.stop({ graceMs: 60_000, abortMs: 60_000 })
  await untilSeenAgain(db, bugle.workerId)
  await untilSeenAgain(db, bugle.workerId)
  expect(await db.bugle().cancel(id)).toBe('requested')
  expect(await stopped).toEqual({ ...nothing, failed: 1 })
  expect(failed.all).toMatchObject([{ id, cause: 'cancelled' }])
  expect(await db.jobs()).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test('E9 after the abort heartbeats go on, until the last handler has ended', async ({ db, runningJob }) => {
  const { bugle, consumer, end } = await runningJob({ bugle: db.bugle({ rescueAfterMs: 900 }) })
  const stopped = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  await untilSeenAgain(db, bugle.workerId)
  await untilSeenAgain(db, bugle.workerId)
  end.resolve()
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
})

test('E9 a job that ignores its abort by a stop is told as stuck, once', async ({ db, runningJob }) => {
  const bugle = db.bugle()
  const stuck = db.collect(bugle, 'job:stuck')
  const { consumer, id, end } = await runningJob({ bugle })
  const stopped = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  const told = await stuck.next()
  expect(told).toMatchObject({ queue: 'q', id, attempt: 1, reason: 'SHUTDOWN' })
  expect(told.ageMs).toBeGreaterThanOrEqual(4_900)
  end.resolve()
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
  expect(stuck.all).toHaveLength(1)
})
