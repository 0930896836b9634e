import { expect } from 'vitest'
import { type Outcome, partial, reject, release, retry } from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { interruptible, test } from '../../support/running-job.js'
import { aborted, withoutHeartbeat } from '../../support/stopping.js'

test('G2 a cancelled job fails with the cause cancelled also in its last attempt', async ({ db, runningJob }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const { id } = await runningJob({ bugle, handler: interruptible, consume: { retryStrategy: false } })
  await bugle.cancel(id)
  expect(await failed.next()).toMatchObject({ cause: 'cancelled', error: { code: 'CANCELLED' } })
  expect(await db.jobs()).toMatchObject([{ state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test('G2 of a cancelled job what its handler threw is kept as the cause of the error', async ({ db, runningJob }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const { consumer, id } = await runningJob({
    bugle,
    handler: async (_job, ctx) => {
      await aborted(ctx)
      throw new Error('half way through')
    },
  })
  await bugle.cancel(id)
  await failed.next()
  const [row] = await db.sql.unsafe<{ last_error: unknown }[]>(`select last_error from ${db.s}.job`)
  expect(row?.last_error).toMatchObject({ failedBy: 'cancelled', cause: { message: 'half way through' } })
  await consumer.stop()
  // An operator may want it to run all the same.
  expect(await bugle.requeue([id])).toBe(1)
})

test('G3 a job that is cancelled while it finishes keeps its success', async ({ db, runningJob }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const acked = db.collect(bugle, 'job:acked')
  const failed = db.collect(bugle, 'job:failed')
  const { consumer, id } = await runningJob({
    bugle,
    handler: async (_job, ctx) => {
      await aborted(ctx)
      return { done: true }
    },
    consume: { keep: 'all' },
  })
  expect(await bugle.cancel(id)).toBe('requested')
  expect(await acked.next()).toMatchObject({ id })
  expect(failed.all).toEqual([])
  expect(await db.jobs()).toEqual([])
  expect(await db.sql.unsafe(`select id, result from ${db.s}.archive`)).toEqual([{ id, result: { done: true } }])
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

test('G3 what was acked in the handler’s own transaction before the cancel stays acked', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const acked = db.collect(bugle, 'job:acked')
  const committed = signal<string>()
  const go = signal()
  await bugle.consume('q', async (job, ctx) => {
    await db.sql.begin((tx) => ctx.ack(tx))
    committed.resolve(job.id)
    await go.promise
    throw new Error('after the commit')
  })
  await bugle.put('q', 1)
  const id = await committed.promise
  expect(await bugle.cancel(id)).toBe('not-found')
  go.resolve()
  expect(await acked.next()).toMatchObject({ id })
})

const outcomes: Record<string, { outcome: () => Outcome; cause: string }> = {
  retry: { outcome: () => retry({ delayMs: 0 }), cause: 'cancelled' },
  release: { outcome: () => release({ delayMs: 0 }), cause: 'cancelled' },
  partial: { outcome: () => partial(1, { delayMs: 0 }), cause: 'cancelled' },
  reject: { outcome: () => reject('no'), cause: 'rejected' },
}
for (const [name, { outcome, cause }] of Object.entries(outcomes)) {
  test(`G2 a cancelled job whose handler answers with ${name} ends failed, cause ${cause}`, async ({
    db,
    runningJob,
  }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const failed = db.collect(bugle, 'job:failed')
    let runs = 0
    const { consumer, id } = await runningJob({
      bugle,
      handler: async (_job, ctx) => {
        runs += 1
        await aborted(ctx)
        return outcome()
      },
    })
    await bugle.cancel(id)
    expect(await failed.next()).toMatchObject({ cause })
    await consumer.idle()
    expect(runs).toBe(1)
    expect(await db.jobs()).toMatchObject([{ state: 'failed', attempt: 1, last_error: { failedBy: cause } }])
  })
}

test('G2 a cancelled job keeps its slot until its handler returns, and is told as stuck, once', async ({
  db,
  runningJob,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const stuck = db.collect(bugle, 'job:stuck')
  const seen: unknown[] = []
  const { consumer, id, end } = await runningJob({
    bugle,
    handler: async (job, ctx, untilEnd) => {
      seen.push(job.payload)
      if (job.payload === 'next') return
      await aborted(ctx)
      await untilEnd
    },
    consume: { concurrency: 1 },
    payload: 'stubborn',
  })
  await bugle.put('q', 'next')
  await bugle.cancel(id)
  const told = await stuck.next()
  expect(told).toMatchObject({ queue: 'q', id, attempt: 1, reason: 'CANCELLED' })
  expect(told.ageMs).toBeGreaterThanOrEqual(4_900)
  expect(consumer.activeJobs).toBe(1)
  expect(seen).toEqual(['stubborn'])
  end.resolve()
  await consumer.idle()
  expect(seen).toEqual(['stubborn', 'next'])
  expect(stuck.all).toHaveLength(1)
  expect(await db.jobs()).toEqual([])
})

test('G3 cancels at random moments: each job is either acked or cancelled, and told as what it is', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const acked = db.collect(bugle, 'job:acked')
  const failed = db.collect(bugle, 'job:failed')
  const count = 300
  let turn = 0
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    turn += 1
    for (let left = turn % 7; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
    if (turn % 2 === 0) ctx.signal.throwIfAborted()
  })
  const answers: Record<string, string> = {}
  await Promise.all(
    [...Array(count).keys()].map(async (n) => {
      const id = await bugle.put('q', n)
      for (let left = n % 5; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
      answers[id] = await bugle.cancel(id)
    }),
  )
  await consumer.idle()
  const rows = await db.jobs()
  const cancelled = rows.filter(({ last_error }) => last_error?.failedBy === 'cancelled').map(({ id }) => id)
  expect(rows.map(({ id }) => id)).toEqual(cancelled)
  const told = new Set(failed.all.map(({ id }) => id))
  for (const id of cancelled) expect(told.has(id)).toBe(answers[id] !== 'cancelled')
  for (const { cause } of failed.all) expect(cause).toBe('cancelled')
  expect(acked.all.length + cancelled.length).toBe(count)
})
