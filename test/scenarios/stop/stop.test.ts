import { expect } from 'vitest'
import {
  type BugleOptions,
  type JobContext,
  type Outcome,
  partial,
  reject,
  release,
  retry,
  type StopReport,
} from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { startStopProcess } from '../../support/stop-process.js'
import {
  aborted,
  fence,
  holdClaims,
  isPending,
  takeOver,
  timed,
  untilNoSession,
  untilSeenAgain,
  untilState,
  withoutHeartbeat,
  workerRows,
} from '../../support/stopping.js'
import { until } from '../../support/until.js'

const nothing: StopReport = { completed: 0, failed: 0, interrupted: 0, released: 0, abandoned: [] }
/**
 * What a stop may take beyond graceMs + abortMs: a second, when it is looked at closely (BUGLE_TEST_STOPS=50, on a machine that has
 * nothing else to do). Beside other tests on two cores only that it does not wait for what never comes.
 */
const marginMs = process.env.BUGLE_TEST_STOPS ? 1_000 : 5_000

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
  }) => {
    const bugle = db.bugle()
    const interrupted = db.collect(bugle, 'job:interrupted')
    const others = [
      db.collect(bugle, 'job:failed'),
      db.collect(bugle, 'job:retrying'),
      db.collect(bugle, 'job:released'),
    ]
    const begun = signal<string>()
    const consumer = await bugle.consume('q', (job, ctx) => {
      begun.resolve(job.id)
      return wait(ctx)
    })
    await bugle.put('q', 'long')
    const id = await begun.promise
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

test('E1 the reason of the abort is a BugleError with the code SHUTDOWN', async ({ db }) => {
  const bugle = db.bugle()
  const begun = signal()
  const reason = signal<unknown>()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    begun.resolve()
    reason.resolve(await aborted(ctx))
    throw 'a text'
  })
  await bugle.put('q', 1)
  await begun.promise
  expect(await consumer.stop({ graceMs: 0 })).toEqual({ ...nothing, interrupted: 1 })
  expect(await reason.promise).toMatchObject({ name: 'BugleError', code: 'SHUTDOWN' })
})

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

test('E4 a handler that goes on past the deadline: the stop is in time and names it, and its late ack counts if nobody has taken it over', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const begun = signal<string>()
  const end = gate()
  const consumer = await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 50, abortMs: 50 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  expect(report).toEqual({ ...nothing, abandoned: [{ id, ageMs: expect.any(Number) }] })
  expect(report.abandoned[0]?.ageMs).toBeGreaterThanOrEqual(99)
  expect(await consumer.stopped).toEqual(report)
  // It keeps its lease.
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 1 }])
  end.resolve()
  await acked.next()
  expect(await db.jobs()).toEqual([])
})

test('E4 the late ack of a handler that was abandoned is refused if its job was taken over', async ({ db, gate }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const stale = db.collect(bugle, 'job:stale')
  const begun = signal<string>()
  const end = gate()
  const consumer = await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  expect((await consumer.stop({ graceMs: 0, abortMs: 0 })).abandoned).toMatchObject([{ id }])
  await takeOver(db, id)
  end.resolve()
  expect(await stale.next()).toMatchObject({ queue: 'q', id, lease: expect.any(String) })
  expect(acked.all).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 2, worker_id: '5', lease: '123456789' }])
})

test('E4 after a stop that abandoned a job its queue can be consumed again, while the old handler goes on', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const first = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await bugle.put('q', 'old')
  await begun.promise
  await first.stop({ graceMs: 0, abortMs: 0 })
  const ran = signal<unknown>()
  const second = await bugle.consume('q', (job) => ran.resolve(job.payload))
  await bugle.put('q', 'new')
  expect(await ran.promise).toBe('new')
  await second.idle()
  expect(await db.jobs()).toMatchObject([{ payload: 'old', state: 'running' }])
  end.resolve()
  const [old] = await db.jobs()
  if (old) await untilState(db, old.id, null)
  expect(await second.stop()).toEqual({ ...nothing, completed: 1 })
})

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

test('E6 a handler that swallows the abort and returns is acked', async ({ db }) => {
  const bugle = db.bugle()
  const interrupted = db.collect(bugle, 'job:interrupted')
  const begun = signal()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    begun.resolve()
    await aborted(ctx)
  })
  await bugle.put('q', 1)
  await begun.promise
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

test('E6 a job that was acked in the handler’s own transaction is completed, also if its handler throws at the abort', async ({
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

test('E10 an onFailed that never ends does not hold up a stop, and its job has failed', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', () => reject('no'), {
    onFailed: async () => {
      begun.resolve()
      await end.promise
    },
  })
  await bugle.put('q', 1)
  await begun.promise
  const { value, tookMs } = await timed(() => consumer.stop({ graceMs: 50, abortMs: 50 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  expect(value).toEqual({ ...nothing, failed: 1 })
})

test('E10 a retry strategy that never ends does not hold up a stop, which names its job', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume(
    'q',
    () => {
      throw new Error('first')
    },
    {
      retryStrategy: async () => {
        begun.resolve()
        await end.promise
        return false as const
      },
    },
  )
  const id = await bugle.put('q', 1)
  await begun.promise
  const { value, tookMs } = await timed(() => consumer.stop({ graceMs: 50, abortMs: 50 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  expect(value).toMatchObject({ ...nothing, abandoned: [{ id }] })
  end.resolve()
  await untilState(db, id, 'failed')
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
  test(`E6 a handler that answers its abort with ${name} is taken at its word`, async ({ db }) => {
    const bugle = db.bugle()
    const begun = signal()
    const consumer = await bugle.consume('q', async (_job, ctx) => {
      begun.resolve()
      await aborted(ctx)
      return outcome()
    })
    await bugle.put('q', 1)
    await begun.promise
    expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, ...report })
    expect(await db.jobs()).toMatchObject([row])
    if (name === 'partial') {
      expect(await db.sql.unsafe(`select progress from ${db.s}.job`)).toEqual([{ progress: { step: 3 } }])
    }
  })
}

test('E6 a middleware that turns the throw of an aborted handler into an outcome is taken at its word', async ({
  db,
}) => {
  const bugle = db.bugle()
  const begun = signal()
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      begun.resolve()
      throw await aborted(ctx)
    },
    {
      middleware: [
        async (_job, _ctx, next) => {
          const outcome = await next()
          return outcome.type === 'error' ? reject('by the middleware') : outcome
        },
      ],
    },
  )
  await bugle.put('q', 1)
  await begun.promise
  expect(await consumer.stop({ graceMs: 0, abortMs: 30_000 })).toEqual({ ...nothing, failed: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'failed', last_error: { failedBy: 'rejected' } }])
})

test('E7 an idle consumer stops at once, also with the longest times, and takes its worker row and its sessions with it', async ({
  db,
}) => {
  const bugle = db.bugle()
  const stopping = db.collect(bugle, 'consumer:stopping')
  const stopped = db.collect(bugle, 'consumer:stopped')
  const consumer = await bugle.consume('q', () => {}, { graceMs: Infinity, abortMs: Infinity })
  await consumer.idle()
  const { value: report, tookMs } = await timed(() => consumer.stop())
  expect(tookMs).toBeLessThan(marginMs)
  expect(report).toEqual(nothing)
  expect(await consumer.stopped).toEqual(nothing)
  expect(consumer.isRunning).toBe(false)
  expect(consumer.activeJobs).toBe(0)
  expect(stopping.all).toEqual([{ queue: 'q', graceMs: Infinity, forced: false }])
  expect(stopped.all).toEqual([{ queue: 'q', report: nothing }])
  expect(await workerRows(db)).toEqual([])
  await bugle.close()
  await untilNoSession(db)
})

test('E7 a second stop joins the first: one report, one consumer:stopped', async ({ db, gate }) => {
  const bugle = db.bugle()
  const stopped = db.collect(bugle, 'consumer:stopped')
  const stopping = db.collect(bugle, 'consumer:stopping')
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await bugle.put('q', 1)
  await begun.promise
  const both = [consumer.stop({ graceMs: 60_000 }), consumer.stop({ graceMs: 60_000 })]
  end.resolve()
  const [first, second] = await Promise.all(both)
  expect(first).toEqual({ ...nothing, completed: 1 })
  expect(second).toEqual(first)
  expect(await consumer.stop()).toEqual(first)
  expect(stopped.all).toHaveLength(1)
  expect(stopping.all).toMatchObject([{ queue: 'q', graceMs: 60_000, forced: false }])
})

test('E7 a second stop shortens the first: its grace is over at once, and then its deadline', async ({ db, gate }) => {
  const bugle = db.bugle()
  const stopping = db.collect(bugle, 'consumer:stopping')
  const begun = signal<string>()
  const wasAborted = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async (job, ctx) => {
    begun.resolve(job.id)
    await aborted(ctx)
    wasAborted.resolve()
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const first = consumer.stop({ graceMs: 60_000, abortMs: 60_000 })
  await fence(db)
  expect(await isPending(wasAborted.promise)).toBe(true)
  const second = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  await wasAborted.promise
  await fence(db)
  expect(await isPending(first)).toBe(true)
  const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 0 }))
  expect(tookMs).toBeLessThan(marginMs)
  expect(report).toMatchObject({ ...nothing, abandoned: [{ id }] })
  expect(await first).toEqual(report)
  expect(await second).toEqual(report)
  expect(stopping.all).toMatchObject([
    { graceMs: 60_000, forced: false },
    { graceMs: 0, forced: false },
    { graceMs: 0, forced: true },
  ])
})

test('E7 a second stop with longer times does not lengthen the first', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal<string>()
  const end = gate()
  const consumer = await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const { value: reports, tookMs } = await timed(() =>
    Promise.all([
      consumer.stop({ graceMs: 100, abortMs: 100 }),
      consumer.stop({ graceMs: 60_000, abortMs: 60_000 }),
      consumer.stop({ graceMs: Infinity, abortMs: Infinity }),
      consumer.stop(),
    ]),
  )
  expect(tookMs).toBeLessThan(200 + marginMs)
  for (const report of reports) expect(report).toMatchObject({ abandoned: [{ id }] })
})

test('E7 a stop that was begun without end can be ended by force', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await bugle.put('q', 1)
  await begun.promise
  const first = consumer.stop({ graceMs: Infinity, abortMs: Infinity })
  await fence(db)
  const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 0 }))
  expect(tookMs).toBeLessThan(marginMs)
  expect(report.abandoned).toHaveLength(1)
  expect(await first).toEqual(report)
})

test('E7 times that a stop cannot have are refused, and nothing is stopped by them', async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('q', () => {})
  for (const options of [{ graceMs: -1 }, { abortMs: Number.NaN }, { graceMs: '1' }, { grace: 1 }]) {
    await expect((async () => consumer.stop(options as never))()).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  }
  expect(consumer.isRunning).toBe(true)
  await expect((async () => bugle.close({ graceMs: -1 }))()).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  await bugle.put('q', 1)
  await consumer.idle()
  expect(await consumer.stop()).toEqual({ ...nothing, completed: 1 })
})

test('E7 an abort of the option `signal` during the start ends it, and leaves no row and no session', async ({
  db,
}) => {
  const bugle = db.bugle()
  const controller = new AbortController()
  const starting = bugle.consume('q', () => {}, { signal: controller.signal })
  const refused = expect(starting).rejects.toThrow('enough')
  await until(async () => (await workerRows(db)).length > 0)
  controller.abort(new Error('enough'))
  await refused
  await bugle.close()
  expect(await workerRows(db)).toEqual([])
  await untilNoSession(db)
})

test('E7 close during the start, with a job that its first claim takes: whatever came first, the job is left as it was or done', async ({
  db,
}) => {
  for (let round = 0; round < 5; round += 1) {
    const bugle = db.bugle()
    const id = await bugle.put('q', round)
    const starting = bugle.consume('q', async (_job, ctx) => {
      throw await aborted(ctx)
    })
    starting.catch(() => {})
    if (round > 0) await until(async () => (await workerRows(db)).length > 0)
    if (round > 2) await Promise.race([untilState(db, id, 'running'), starting.catch(() => {})])
    await bugle.close({ graceMs: 0, abortMs: 10_000 })
    expect(await db.jobs()).toMatchObject([{ id, state: 'ready', attempt: 0, worker_id: null }])
    expect(await workerRows(db)).toEqual([])
    await db.sql.unsafe(`delete from ${db.s}.job`)
  }
})

test('E7 the abort of the option `signal` stops the consumer with its own times', async ({ db }) => {
  const bugle = db.bugle()
  const stopping = db.collect(bugle, 'consumer:stopping')
  const controller = new AbortController()
  const begun = signal()
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      begun.resolve()
      throw await aborted(ctx)
    },
    { signal: controller.signal, graceMs: 10, abortMs: 30_000 },
  )
  await bugle.put('q', 1)
  await begun.promise
  controller.abort()
  expect(await consumer.stopped).toEqual({ ...nothing, interrupted: 1 })
  expect(stopping.all).toMatchObject([{ graceMs: 10, forced: false }])
})

test('E7 a stop from inside a handler that is not awaited there waits for that handler', async ({ db }) => {
  const bugle = db.bugle()
  const stops: Promise<StopReport>[] = []
  const consumer = await bugle.consume('q', () => {
    stops.push(consumer.stop())
  })
  await bugle.put('q', 1)
  expect(await consumer.stopped).toEqual({ ...nothing, completed: 1 })
  expect(await Promise.all(stops)).toEqual([{ ...nothing, completed: 1 }])
  expect(await db.jobs()).toEqual([])
})

test('E7 a stop that is awaited inside a handler ends by its deadline, and its ack counts', async ({ db }) => {
  const bugle = db.bugle()
  const report = signal<StopReport>()
  const acked = db.collect(bugle, 'job:acked')
  const consumer = await bugle.consume('q', async () => {
    report.resolve(await consumer.stop({ graceMs: 50, abortMs: 50 }))
  })
  const id = await bugle.put('q', 1)
  expect(await report.promise).toMatchObject({ abandoned: [{ id }] })
  await acked.next()
  expect(await db.jobs()).toEqual([])
})

test('E7 a consumer and an instance can be disposed of by `await using`', async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('q', () => {})
  // What `await using` calls; as syntax it is too new for Node 20.
  await consumer[Symbol.asyncDispose]()
  expect(await consumer.stopped).toEqual(nothing)
  const second = await bugle.consume('q', () => {})
  await bugle[Symbol.asyncDispose]()
  expect(await second.stopped).toEqual(nothing)
  await untilNoSession(db)
})

test('E7 idle() and pause() that wait resolve at the stop', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await bugle.put('q', 1)
  await begun.promise
  const claims = await holdClaims(db)
  await bugle.put('q', 2)
  await claims.untilHeld()
  const waiting = [consumer.idle(), consumer.pause()]
  await consumer.stop({ graceMs: 0, abortMs: 0 })
  await waiting[0]
  await claims.open()
  await waiting[1]
})

test('E7 stops at random moments under load: every job is acked once, and none loses an attempt', async ({ db }) => {
  const count = 2_000
  const bugle = db.bugle()
  const stale = db.collect(bugle, 'job:stale')
  await bugle.putMany('q', [...Array(count).keys()])
  const runs = new Map<unknown, number>()
  let completed = 0
  for (let round = 0; completed < count; round += 1) {
    let left = (round * 37) % 150
    const enough = signal()
    const consumer = await bugle.consume(
      'q',
      async (job) => {
        expect(job.attempt).toBe(1)
        runs.set(job.payload, (runs.get(job.payload) ?? 0) + 1)
        left -= 1
        if (left <= 0) enough.resolve()
        if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
      },
      { concurrency: 1 + (round % 9) },
    )
    await Promise.race([enough.promise, consumer.idle()])
    const report = await consumer.stop()
    expect(report).toMatchObject({ failed: 0, interrupted: 0, abandoned: [] })
    completed += report.completed
    const states = new Set((await db.jobs()).map(({ state, attempt }) => `${state} ${attempt}`))
    expect([...states].filter((one) => one !== 'ready 0')).toEqual([])
  }
  expect(completed).toBe(count)
  expect(runs.size).toBe(count)
  expect([...runs.values()].every((n) => n === 1)).toBe(true)
  expect(stale.all).toEqual([])
  expect(await db.jobs()).toEqual([])
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

const stops = Number(process.env.BUGLE_TEST_STOPS ?? 2)
const times = { graceMs: 200, abortMs: 200 } as const

/** An instance whose way to the database is a proxy, entirely or for its listener and control session only. */
async function behindProxy(db: TestDatabase, what: 'everything' | 'listening', options: BugleOptions = {}) {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  const bugle = db.bugle({
    ...options,
    ...(what === 'everything' ? { connectionString: through.href } : { listenConnectionString: through.href }),
  })
  return { bugle, proxy }
}

type Proxied = Awaited<ReturnType<typeof behindProxy>>

const faults: Record<string, { what: 'everything' | 'listening'; strike: (proxied: Proxied) => unknown }> = {
  'the database gone (refused)': { what: 'everything', strike: ({ proxy }) => proxy.refuse() },
  'the database gone (connections are dropped)': { what: 'everything', strike: ({ proxy }) => proxy.drop() },
  'the database gone (frozen)': { what: 'everything', strike: ({ proxy }) => proxy.freeze() },
  'a half-open listener': { what: 'listening', strike: ({ proxy }) => proxy.freeze() },
  'handlers that never end and all well otherwise': { what: 'everything', strike: () => {} },
}

const stopWays: Record<string, (proxied: Proxied, stop: () => Promise<StopReport>) => Promise<unknown>> = {
  stop: (_proxied, stop) => stop(),
  close: ({ bugle }) => bugle.close(times),
}

for (const [fault, { what, strike }] of Object.entries(faults)) {
  for (const [way, act] of Object.entries(stopWays)) {
    test(`E10 ${way} with ${fault}: ends within graceMs + abortMs + ${marginMs / 1_000} s, ${stops} times out of ${stops}`, {
      timeout: 60_000 + stops * 5_000,
    }, async ({ db }) => {
      const took: number[] = []
      for (let round = 0; round < stops; round += 1) {
        const proxied = await behindProxy(db, what)
        const { bugle, proxy } = proxied
        const all = signal()
        let begun = 0
        const consumer = await bugle.consume(
          'q',
          async (job, ctx) => {
            begun += 1
            if (begun === 3) all.resolve()
            // One never ends, one ends by the abort, one returns after it.
            if (job.payload === 'never') await new Promise(() => {})
            const reason = await aborted(ctx)
            if (job.payload === 'throws') throw reason
          },
          { concurrency: 3 },
        )
        const [never] = await db.bugle().putMany('q', ['never', 'throws', 'returns'])
        await all.promise
        await strike(proxied)
        const { tookMs } = await timed(() => act(proxied, () => consumer.stop(times)))
        took.push(tookMs)
        const report = await consumer.stopped
        expect(report.abandoned.map(({ id }) => id)).toContain(never)
        const { completed, failed, interrupted, abandoned } = report
        // Each is in the report once: what could not be written was left behind.
        expect(completed + failed + interrupted + abandoned.length).toBe(3)
        // What is left is named. With the database there, something that was named may be settled a moment later.
        const left = (await db.jobs()).filter(({ state }) => state === 'running').map(({ id }) => id)
        expect(abandoned.map(({ id }) => id)).toEqual(expect.arrayContaining(left))
        await proxy.close()
        await bugle.close({ graceMs: 0, abortMs: 0 })
        await db.sql.unsafe(`delete from ${db.s}.job`)
      }
      expect(Math.max(...took)).toBeLessThan(times.graceMs + times.abortMs + marginMs)
    })
  }
}

test('E10 an idle consumer with the database gone stops by its deadline', async ({ db }) => {
  for (const fault of ['refuse', 'freeze', 'drop'] as const) {
    const { bugle, proxy } = await behindProxy(db, 'everything')
    const consumer = await bugle.consume('q', () => {})
    await consumer.idle()
    await proxy[fault]()
    const { value, tookMs } = await timed(() => consumer.stop(times))
    expect(tookMs).toBeLessThan(times.graceMs + times.abortMs + marginMs)
    expect(value).toEqual(nothing)
    const closed = await timed(() => bugle.close(times))
    expect(closed.tookMs).toBeLessThan(times.graceMs + times.abortMs + marginMs)
    await proxy.close()
  }
})

test('E10 a database that comes back within the grace: what had ended meanwhile is settled', async ({ db, gate }) => {
  const { bugle, proxy } = await behindProxy(db, 'everything')
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await db.bugle().put('q', 1)
  await begun.promise
  await proxy.refuse()
  const downs = db.collect(bugle, 'database:down')
  end.resolve()
  await downs.next()
  const stopped = consumer.stop({ graceMs: 30_000, abortMs: 0 })
  await proxy.heal()
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toEqual([])
  await bugle.close()
  await proxy.close()
})

test('E10 with a claim that is not answered a stop by force is in time, and others run what it takes after all', async ({
  db,
}) => {
  const bugle = db.bugle({ rescueAfterMs: 600 })
  const starting = bugle.consume('q', () => {}, times)
  const consumer = await starting
  const claims = await holdClaims(db)
  await bugle.put('q', 'taken late')
  await claims.untilHeld()
  const { tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 100 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  await bugle.close({ graceMs: 0, abortMs: 0 })
  const ran = signal<unknown>()
  const other = db.bugle({ rescueAfterMs: 600 })
  const opened = claims.open()
  await other.consume('q', (job) => ran.resolve(job.payload))
  await opened
  expect(await ran.promise).toBe('taken late')
})

test('a claim in flight when stop is called: its jobs are released, attempt given back, and counted', async ({
  db,
}) => {
  const bugle = db.bugle()
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => expect.unreachable())
  const claims = await holdClaims(db)
  await bugle.putMany('q', [1, 2, 3])
  await claims.untilHeld()
  const stopped = consumer.stop({ graceMs: 30_000 })
  await claims.open()
  expect(await stopped).toEqual({ ...nothing, released: 3 })
  expect(started.all).toEqual([])
  expect(await db.jobs()).toMatchObject(
    [1, 2, 3].map((payload) => ({ payload, state: 'ready', attempt: 0, worker_id: null })),
  )
  expect(await db.sql.unsafe(`select crashes::int from ${db.s}.job`)).toEqual([1, 2, 3].map(() => ({ crashes: 0 })))
})

test('what a stop releases wakes another consumer', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const consumer = await bugle.consume('q', () => expect.unreachable())
  const claims = await holdClaims(db)
  await bugle.put('q', 1)
  await claims.untilHeld()
  const stopped = consumer.stop({ graceMs: 30_000 })
  const ran = signal()
  const other = db.bugle(withoutHeartbeat)
  await other.consume('q', () => ran.resolve())
  await claims.open()
  expect(await stopped).toEqual({ ...nothing, released: 1 })
  await ran.promise
})

test('the report counts every kind over the whole life of the consumer', async ({ db, gate }) => {
  const bugle = db.bugle()
  const stopped = db.collect(bugle, 'consumer:stopped')
  const begun = new Map(['throws', 'never', 'returns'].map((what) => [what, signal<string>()]))
  const end = gate()
  const consumer = await bugle.consume(
    'q',
    async (job, ctx) => {
      const what = String(job.payload)
      if (what === 'ack') return
      if (what === 'reject') return reject('no')
      if (what === 'throw') throw new Error('retried later')
      begun.get(what)?.resolve(job.id)
      if (what === 'never') return end.promise
      const reason = await aborted(ctx)
      if (what === 'throws') throw reason
    },
    { concurrency: 8, retryStrategy: { retries: 1, delaysMs: 3_600_000 } },
  )
  await bugle.putMany('q', ['ack', 'ack', 'reject', 'throw', 'throws', 'never', 'returns'])
  await Promise.all([...begun.values()].map(({ promise }) => promise))
  await until(async () => (await db.jobs()).length <= 5)
  await untilFailed()
  const never = await begun.get('never')?.promise
  const report = await consumer.stop({ graceMs: 20, abortMs: 500 })
  expect(report).toEqual({
    completed: 3,
    failed: 1,
    interrupted: 1,
    released: 0,
    abandoned: [{ id: never, ageMs: expect.any(Number) }],
  })
  expect(stopped.all).toEqual([{ queue: 'q', report }])
  const states = (await db.jobs()).map(({ payload, state, attempt }) => ({ payload, state, attempt }))
  expect(states).toEqual([
    { payload: 'reject', state: 'failed', attempt: 1 },
    { payload: 'throw', state: 'scheduled', attempt: 1 },
    { payload: 'throws', state: 'ready', attempt: 0 },
    { payload: 'never', state: 'running', attempt: 1 },
  ])
  // A late end changes the report no more.
  end.resolve()
  if (never !== undefined) await untilState(db, never, null)
  expect(await consumer.stopped).toEqual(report)

  async function untilFailed(): Promise<void> {
    await until(async () =>
      (await db.jobs()).every(({ payload, state }) => payload !== 'throw' || state === 'scheduled'),
    )
    await until(async () => (await db.jobs()).every(({ payload, state }) => payload !== 'reject' || state === 'failed'))
  }
})

test('E4 close with an abandoned handler keeps its lease: its worker is seen alive until it ends, then it is settled', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const begun = signal<string>()
  const end = gate()
  await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const { tookMs } = await timed(() => bugle.close({ graceMs: 0, abortMs: 100 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  const { workerId } = bugle
  expect(await workerRows(db)).toMatchObject([{ id: workerId }])
  // Others look on, for longer than it takes to rescue it.
  const other = db.bugle({ rescueAfterMs: 900 })
  await other.consume('q', () => expect.unreachable())
  for (let beats = 0; beats < 4; beats += 1) await untilSeenAgain(db, workerId)
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 1, worker_id: workerId }])
  // Its presence is all that is left: no listener, and no pool.
  expect(await db.backends('control')).toHaveLength(2)
  expect(await db.backends('listener')).toHaveLength(1)
  await other.close()
  end.resolve()
  await untilState(db, id, null)
  await until(async () => (await workerRows(db)).length === 0)
  await untilNoSession(db)
})

test('E4 after the close an abandoned handler that throws is given back, like any that was interrupted', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const begun = signal<string>()
  const end = gate()
  await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
    throw new Error('late')
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  await bugle.close({ graceMs: 0, abortMs: 0 })
  end.resolve()
  await untilState(db, id, 'ready')
  expect(await db.jobs()).toMatchObject([{ id, attempt: 0, worker_id: null }])
  await until(async () => (await workerRows(db)).length === 0)
})

test('E4 after the close the late ack of an abandoned handler is refused if its job was taken over', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const stale = db.collect(bugle, 'job:stale')
  const begun = signal<string>()
  const end = gate()
  await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  await bugle.close({ graceMs: 0, abortMs: 0 })
  await takeOver(db, id)
  end.resolve()
  await stale.next()
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 2, worker_id: '5', lease: '123456789' }])
  await until(async () => (await workerRows(db)).length === 0)
  await untilNoSession(db)
})

test('E4 a stop that abandoned a job, and then close: its lease is kept as well', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const begun = signal<string>()
  const end = gate()
  const consumer = await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  await consumer.stop({ graceMs: 0, abortMs: 0 })
  const { workerId } = bugle
  await untilSeenAgain(db, workerId)
  await bugle.close({ graceMs: 60_000, abortMs: 60_000 })
  await untilSeenAgain(db, workerId)
  await untilSeenAgain(db, workerId)
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 1 }])
  end.resolve()
  await untilState(db, id, null)
  await until(async () => (await workerRows(db)).length === 0)
  await untilNoSession(db)
})

const lateEnds: Record<
  string,
  { end: (db: TestDatabase, ctx: JobContext) => unknown; rows: object[]; archived: number }
> = {
  'returns a result': { end: () => ({ done: true }), rows: [], archived: 1 },
  'rejects it': { end: () => reject('late'), rows: [{ state: 'failed', attempt: 1 }], archived: 0 },
  'asks for a retry': { end: () => retry({ delayMs: 0 }), rows: [{ state: 'ready', attempt: 1 }], archived: 0 },
  'acks it in its own transaction': {
    end: (db, ctx) => db.sql.begin((tx) => ctx.ack(tx, 'by itself')),
    rows: [],
    archived: 1,
  },
}
for (const [what, { end, rows, archived }] of Object.entries(lateEnds)) {
  test(`E4 after the close an abandoned handler that ${what} is settled as ever`, async ({ db, gate }) => {
    const bugle = db.bugle()
    const begun = signal()
    const go = gate()
    await bugle.consume(
      'q',
      async (_job, ctx) => {
        begun.resolve()
        await go.promise
        return end(db, ctx)
      },
      { keep: 'all' },
    )
    await bugle.put('q', 1)
    await begun.promise
    await bugle.close({ graceMs: 0, abortMs: 0 })
    go.resolve()
    await until(async () => (await workerRows(db)).length === 0)
    expect(await db.jobs()).toMatchObject(rows)
    expect(await db.jobs()).toHaveLength(rows.length)
    expect(await db.sql.unsafe(`select from ${db.s}.archive`)).toHaveLength(archived)
    await untilNoSession(db)
  })
}

test('E4 a database that is away when an abandoned handler ends after the close: its job is settled, or rescued, when it is back', async ({
  db,
  gate,
}) => {
  const { bugle, proxy } = await behindProxy(db, 'everything', { rescueAfterMs: 600 })
  const begun = signal<string>()
  const end = gate()
  await bugle.consume('q', async (job) => {
    begun.resolve(job.id)
    await end.promise
  })
  await db.bugle().put('q', 1)
  const id = await begun.promise
  await bugle.close({ graceMs: 0, abortMs: 0 })
  await proxy.refuse()
  end.resolve()
  const ran = signal()
  await db.bugle({ rescueAfterMs: 600 }).consume('q', () => ran.resolve())
  await proxy.heal()
  await Promise.race([ran.promise, untilState(db, id, null)])
  await untilState(db, id, null)
  await proxy.close()
})

test('E4 a process with an abandoned handler can end after its close, and then its job is rescued', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'never',
    close: { graceMs: 0, abortMs: 100 },
    bugle: { rescueAfterMs: 600 },
  })
  await process.next('consume')
  const id = await db.bugle().put('q', 1)
  expect((await process.next('closed')).report).toMatchObject({ abandoned: [{ id }] })
  await process.next('end')
  expect(await process.exited).toEqual({ code: 0, signal: null })
  const ran = signal<string>()
  await db.bugle({ rescueAfterMs: 600 }).consume('q', (job) => ran.resolve(job.id))
  expect(await ran.promise).toBe(id)
})

test('close with several consumers stops them all by one deadline', async ({ db, gate }) => {
  const bugle = db.bugle()
  const end = gate()
  const consumers = []
  const ids = []
  for (const queue of ['a', 'b', 'c']) {
    const begun = signal<string>()
    consumers.push(
      await bugle.consume(queue, async (job, ctx) => {
        begun.resolve(job.id)
        if (queue === 'a') throw await aborted(ctx)
        await end.promise
      }),
    )
    await bugle.put(queue, null)
    ids.push(await begun.promise)
  }
  const { tookMs } = await timed(() => bugle.close({ graceMs: 100, abortMs: 200 }))
  expect(tookMs).toBeLessThan(300 + marginMs)
  const [a, b, c] = await Promise.all(consumers.map(({ stopped }) => stopped))
  expect(a).toEqual({ ...nothing, interrupted: 1 })
  expect(b).toMatchObject({ ...nothing, abandoned: [{ id: ids[1] }] })
  expect(c).toMatchObject({ ...nothing, abandoned: [{ id: ids[2] }] })
  await expect(bugle.put('a', 1)).rejects.toMatchObject({ code: 'CLOSED' })
})

test('a second close joins the first and shortens it', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await bugle.put('q', 1)
  await begun.promise
  const first = bugle.close({ graceMs: 60_000, abortMs: 60_000 })
  await fence(db)
  expect(await isPending(first)).toBe(true)
  const { tookMs } = await timed(() => bugle.close({ graceMs: 0, abortMs: 0 }))
  expect(tookMs).toBeLessThan(marginMs)
  await first
  expect((await consumer.stopped).abandoned).toHaveLength(1)
})

test('close without times takes those of each consumer, or else of the instance', async ({ db }) => {
  const bugle = db.bugle({ graceMs: 30, abortMs: 40 })
  const stopping = db.collect(bugle, 'consumer:stopping')
  const handler = async (_job: unknown, ctx: { signal: AbortSignal }): Promise<void> => {
    all.shift()?.resolve()
    throw await aborted(ctx)
  }
  const all = [signal(), signal()]
  const begun = all.map(({ promise }) => promise)
  await bugle.consume('a', handler)
  await bugle.consume('b', handler, { graceMs: 10 })
  await bugle.put('a', 1)
  await bugle.put('b', 1)
  await Promise.all(begun)
  await bugle.close()
  expect(stopping.all).toHaveLength(2)
  expect(stopping.all).toEqual(
    expect.arrayContaining([
      { queue: 'a', graceMs: 30, forced: false },
      { queue: 'b', graceMs: 10, forced: false },
    ]),
  )
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
})

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  test(`E8 ${name}: the first stops with grace, the second skips the grace, the third the rest; the program's handlers are there afterwards`, async ({
    db,
  }) => {
    const process = startStopProcess(db, {
      queue: 'q',
      handler: 'never',
      former: true,
      bugle: { handleSignals: true, graceMs: 60_000, abortMs: 60_000 },
    })
    await process.next('consume')
    const id = await db.bugle().put('q', 1)
    await process.next('begin')
    process.kill(name)
    expect((await process.next('consumer:stopping')).data).toMatchObject({ graceMs: 60_000, forced: false })
    process.kill(name)
    expect((await process.next('abort')).code).toBe('SHUTDOWN')
    process.kill(name)
    expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { abandoned: [{ id }] } })
    const end = await process.next('end')
    expect(end).toMatchObject({ before: [1, 1], after: [1, 1], sameFormer: true })
    expect(await process.exited).toEqual({ code: 0, signal: null })
  })
}

test('E8 one signal, and the handler ends within the grace: acked, the connections are closed, and the process ends by itself', async ({
  db,
}) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'timer',
    ms: 400,
    bugle: { handleSignals: true },
  })
  await process.next('consume')
  await db.bugle().put('q', 1)
  await process.next('begin')
  process.kill('SIGTERM')
  expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { ...nothing, completed: 1 } })
  expect(await process.next('end')).toMatchObject({ before: [0, 0], after: [0, 0] })
  expect(await process.exited).toEqual({ code: 0, signal: null })
  expect(await db.jobs()).toEqual([])
  expect(await workerRows(db)).toEqual([])
})

test('E8 after a signal nothing keeps an idle process alive, however long the times are', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'quick',
    bugle: { handleSignals: true, graceMs: 3_600_000, abortMs: 3_600_000 },
  })
  await process.next('consume')
  process.kill('SIGINT')
  await process.next('consumer:stopped')
  const { value, tookMs } = await timed(() => process.exited)
  expect(value).toEqual({ code: 0, signal: null })
  expect(tookMs).toBeLessThan(5_000)
})

test('E8 SIGTERM and SIGINT count together', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'swallow',
    bugle: { handleSignals: true, graceMs: 60_000 },
  })
  await process.next('consume')
  await db.bugle().put('q', 1)
  await process.next('begin')
  process.kill('SIGTERM')
  await process.next('consumer:stopping')
  process.kill('SIGINT')
  expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { ...nothing, completed: 1 } })
  expect(await process.exited).toEqual({ code: 0, signal: null })
})

test('E8 once closed, a signal does again what it does without us', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'quick',
    stays: true,
    bugle: { handleSignals: true },
  })
  await process.next('consume')
  process.kill('SIGINT')
  expect(await process.next('stopped')).toBeTruthy()
  // The close goes on for a moment after its last consumer; a signal meanwhile is only a shorter close.
  await until(
    async () =>
      (await db.sql`select from pg_stat_activity where application_name like ${`${db.schema}%`}`).length === 0,
  )
  const again = setInterval(() => process.kill('SIGINT'), 50)
  expect(await process.exited).toEqual({ code: null, signal: 'SIGINT' })
  clearInterval(again)
})

test('E8 without handleSignals there is no listener, and SIGTERM ends the process as ever', async ({ db }) => {
  const process = startStopProcess(db, { queue: 'q', handler: 'never' })
  expect((await process.next('consume')).listeners).toEqual([0, 0])
  process.kill('SIGTERM')
  expect(await process.exited).toEqual({ code: null, signal: 'SIGTERM' })
})
