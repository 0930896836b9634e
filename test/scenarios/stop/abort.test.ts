import { expect } from 'vitest'
import { type Outcome, partial, reject, release, retry, type StopReport } from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { interruptible, test } from '../../support/running-job.js'
import { aborted, marginMs, nothing, timed } from '../../support/stopping.js'

const abortable = {
  'E1 a handler in an abortable sleep': (ctx: { signal: AbortSignal }) =>
    new Promise((_, fail) => {
      const timer = setTimeout(() => {}, 60_000)
      ctx.signal.addEventListener('abort', () => {
        clearTimeout(timer)
        fail(new DOMException('The operation was aborted', 'AbortError'))
      })
    }),
  'E2 a handler that waits on a promise which rejects on abort': async (ctx: { signal: AbortSignal }) => {
    throw await aborted(ctx)
  },
} as const

for (const [title, wait] of Object.entries(abortable)) {
  test(`${title} is interrupted: still queued, attempt given back, and it completes after a restart`, async ({
    db,
    runningJob,
  }) => {
    const bugle = db.bugle()
    const interrupted = db.collect(bugle, 'job:interrupted')
    const others = [
      db.collect(bugle, 'job:failed'),
      db.collect(bugle, 'job:retrying'),
      db.collect(bugle, 'job:released'),
    ]
    const { consumer, id } = await runningJob({ bugle, handler: (_job, ctx) => wait(ctx) })
    const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 30_000 }))
    expect(tookMs).toBeLessThan(marginMs)
    expect(report).toEqual({ ...nothing, interrupted: 1 })
    expect(interrupted.all).toMatchObject([{ queue: 'q', id, kind: null, attempt: 1, reason: 'SHUTDOWN' }])
    expect(interrupted.all[0]?.workerId).toMatch(/^\d+$/)
    for (const { all } of others) expect(all).toEqual([])
    expect(await db.jobs()).toMatchObject([{ id, state: 'ready', attempt: 0, worker_id: null, last_error: null }])
    await bugle.close()

    const ran = signal<number>()
    const again = db.bugle()
    const next = await again.consume('q', (job) => ran.resolve(job.attempt))
    expect(await ran.promise).toBe(1)
    expect(await next.stop()).toEqual({ ...nothing, completed: 1 })
    expect(await db.jobs()).toEqual([])
  })
}

test('E1 the reason of the abort is a BugleError with the code SHUTDOWN', async ({ runningJob }) => {
  const reason = signal<unknown>()
  const { consumer } = await runningJob({
    handler: async (_job, ctx) => {
      reason.resolve(await aborted(ctx))
      throw 'a text'
    },
  })
  expect(await consumer.stop({ graceMs: 0 })).toEqual({ ...nothing, interrupted: 1 })
  expect(await reason.promise).toMatchObject({ name: 'BugleError', code: 'SHUTDOWN' })
})

test('E6 a handler that swallows the abort and returns is acked', async ({ db, runningJob }) => {
  const bugle = db.bugle()
  const interrupted = db.collect(bugle, 'job:interrupted')
  const { consumer } = await runningJob({
    bugle,
    handler: async (_job, ctx) => {
      await aborted(ctx)
    },
  })
  expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, completed: 1 })
  expect(interrupted.all).toEqual([])
  expect(await db.jobs()).toEqual([])
})

test('E1 a handler whose transaction, with the ack in it, is rolled back by the abort is interrupted', async ({
  db,
}) => {
  const bugle = db.bugle()
  const begun = signal()
  const consumer = await bugle.consume('q', (_job, ctx) =>
    db.sql.begin(async (tx) => {
      await ctx.ack(tx)
      begun.resolve()
      throw await aborted(ctx)
    }),
  )
  await bugle.put('q', 1)
  await begun.promise
  expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, interrupted: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'ready', attempt: 0, last_error: null }])
})

test('E6 a job acked in the handler’s own transaction is completed, also if its handler throws at the abort', async ({
  db,
}) => {
  const bugle = db.bugle()
  const begun = signal()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    await db.sql.begin((tx) => ctx.ack(tx))
    begun.resolve()
    throw await aborted(ctx)
  })
  await bugle.put('q', 1)
  await begun.promise
  expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toEqual([])
})

const outcomes: Record<string, { outcome: () => Outcome; row: object; report?: Partial<StopReport> }> = {
  retry: {
    outcome: () => retry({ delayMs: 60_000, reason: 'why' }),
    row: { state: 'scheduled', attempt: 1, last_error: { message: expect.stringContaining('why') } },
  },
  release: { outcome: () => release({ delayMs: 60_000 }), row: { state: 'scheduled', attempt: 0, last_error: null } },
  partial: { outcome: () => partial({ step: 3 }, { delayMs: 60_000 }), row: { state: 'scheduled', attempt: 1 } },
  reject: {
    outcome: () => reject('no good'),
    row: { state: 'failed', attempt: 1, last_error: { failedBy: 'rejected' } },
    report: { failed: 1 },
  },
}
for (const [name, { outcome, row, report }] of Object.entries(outcomes)) {
  test(`E6 a handler that answers its abort with ${name} is taken at its word`, async ({ db, runningJob }) => {
    const { consumer } = await runningJob({
      handler: async (_job, ctx) => {
        await aborted(ctx)
        return outcome()
      },
    })
    expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, ...report })
    expect(await db.jobs()).toMatchObject([row])
    if (name === 'partial') {
      expect(await db.sql.unsafe(`select progress from ${db.s}.job`)).toEqual([{ progress: { step: 3 } }])
    }
  })
}

test('E6 a middleware that turns the throw of an aborted handler into an outcome is taken at its word', async ({
  db,
  runningJob,
}) => {
  const { consumer } = await runningJob({
    handler: interruptible,
    consume: {
      middleware: [
        async (_job, _ctx, next) => {
          const outcome = await next()
          return outcome.type === 'error' ? reject('by the middleware') : outcome
        },
      ],
    },
  })
  expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, failed: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'failed', last_error: { failedBy: 'rejected' } }])
})
