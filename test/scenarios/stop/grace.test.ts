import { expect } from 'vitest'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { aborted, fence, isPending, nothing, untilSeenAgain } from '../../support/stopping.js'

for (const times of [{ graceMs: 60_000 }, { graceMs: 0, abortMs: 60_000 }]) {
  test(`E3a with ${JSON.stringify(times)} a handler that yields and ignores its signal is waited for and acked, and nothing new is claimed`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const begun = signal()
    const end = gate()
    let runs = 0
    const consumer = await bugle.consume('q', async () => {
      runs += 1
      begun.resolve()
      await end.promise
    })
    await bugle.put('q', 'first')
    await begun.promise
    const stopped = consumer.stop(times)
    expect(consumer.isRunning).toBe(false)
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

test('E5 a job that ends within the grace is not aborted', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const wasAborted = signal<boolean>()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    const { signal: own } = ctx
    begun.resolve()
    await end.promise
    wasAborted.resolve(own.aborted)
  })
  await bugle.put('q', 1)
  await begun.promise
  const stopped = consumer.stop({ graceMs: 60_000 })
  await fence(db)
  end.resolve()
  expect(await wasAborted.promise).toBe(false)
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
})

test('E5 a handler that fails by itself within the grace has failed, and was not interrupted', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    void ctx.signal
    begun.resolve()
    await end.promise
    throw new Error('its own')
  })
  await bugle.put('q', 1)
  await begun.promise
  const stopped = consumer.stop({ graceMs: 60_000 })
  end.resolve()
  expect(await stopped).toEqual(nothing)
  expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { message: 'its own' } }])
})

test('E9 during the grace heartbeats go on, and a cancel arrives', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const failed = db.collect(bugle, 'job:failed')
  const begun = signal<string>()
  const consumer = await bugle.consume('q', async (job, ctx) => {
    begun.resolve(job.id)
    throw await aborted(ctx)
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const stopped = consumer.stop({ graceMs: 60_000, abortMs: 60_000 })
  await untilSeenAgain(db, bugle.workerId)
  await untilSeenAgain(db, bugle.workerId)
  expect(await db.bugle().cancel(id)).toBe('requested')
  expect(await stopped).toEqual({ ...nothing, failed: 1 })
  expect(failed.all).toMatchObject([{ id, cause: 'cancelled' }])
  expect(await db.jobs()).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test('E9 after the abort heartbeats go on, until the last handler has ended', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await bugle.put('q', 1)
  await begun.promise
  const stopped = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  await untilSeenAgain(db, bugle.workerId)
  await untilSeenAgain(db, bugle.workerId)
  end.resolve()
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
})

test('E9 a job that ignores its abort by a stop is told as stuck, once', async ({ db, gate }) => {
  const bugle = db.bugle()
  const stuck = db.collect(bugle, 'job:stuck')
  const begun = signal<string>()
  const end = gate()
  const consumer = await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const stopped = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  const told = await stuck.next()
  expect(told).toMatchObject({ queue: 'q', id, attempt: 1, reason: 'SHUTDOWN' })
  expect(told.ageMs).toBeGreaterThanOrEqual(4_900)
  end.resolve()
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
  expect(stuck.all).toHaveLength(1)
})
