import { expect } from 'vitest'
import { ack, type Middleware, type Outcome } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'

/** Middleware that breaks the rules: how often the handler runs, and what the job's error says. Null: it is acked. */
const rulebreakers: Record<string, { middleware: Middleware; handled: number; says: string | null }> = {
  'throws before next()': { middleware: broken, handled: 0, says: 'broken' },
  'rejects before next()': { middleware: async () => broken(), handled: 0, says: 'broken' },
  'throws undefined': { middleware: () => Promise.reject(), handled: 0, says: 'thrown: undefined' },
  'throws after next()': {
    middleware: async (_, __, next) => {
      await next()
      broken()
    },
    handled: 1,
    says: 'broken',
  },
  'throws without waiting for next()': {
    middleware: (_, __, next) => {
      void next()
      return broken()
    },
    handled: 1,
    says: 'broken',
  },
  'neither calls next() nor returns an outcome': {
    middleware: () => 'done',
    handled: 0,
    says: 'a middleware neither called next() nor returned an outcome',
  },
  'calls next() twice, one after the other': {
    middleware: async (_, __, next) => {
      await next()
      return next()
    },
    handled: 1,
    says: 'a middleware called next() twice',
  },
  'calls next() twice at once': {
    middleware: (_, __, next) => Promise.all([next(), next()]),
    handled: 1,
    says: 'a middleware called next() twice',
  },
  'calls next() twice, and catches what it is told': {
    middleware: async (_, __, next) => {
      await next()
      await next().catch(() => {})
    },
    handled: 1,
    says: null,
  },
  'does not wait for next()': {
    middleware: (_, __, next) => {
      void next()
    },
    handled: 1,
    says: null,
  },
  'returns next itself': { middleware: (_, __, next) => next, handled: 0, says: 'neither called next()' },
  'answers with a thenable that rejects': {
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is shown
    middleware: () => ({ then: (_: unknown, refuse: (reason: unknown) => void) => refuse(new Error('broken')) }),
    handled: 0,
    says: 'broken',
  },
  'answers with a thenable that throws': {
    middleware: () => Object.defineProperty({}, 'then', { get: broken }),
    handled: 0,
    says: 'broken',
  },
}

for (const at of ['instance', 'consumer'] as const) {
  test(`middleware: one of the ${at} that throws or breaks the rules costs its run, and never a slot`, async ({
    db,
  }) => {
    const middleware: Middleware = (job, ctx, next) =>
      job.payload === 'good' ? next() : rulebreakers[job.payload as string]?.middleware(job, ctx, next)
    const bugle = db.bugle(at === 'instance' ? { middleware: [middleware] } : {})
    const handled: unknown[] = []
    const asked: unknown[] = []
    const consumer = await bugle.consume('q', (job) => void handled.push(job.payload), {
      concurrency: 1,
      middleware: at === 'consumer' ? [middleware] : [],
      retryStrategy: (job) => {
        asked.push(job.payload)
        return false
      },
    })
    const names = Object.keys(rulebreakers)
    await bugle.putMany(
      'q',
      names.flatMap((name) => [name, 'good']),
    )
    await consumer.idle()
    expect(handled.filter((payload) => payload === 'good')).toHaveLength(names.length)
    const failing = names.filter((name) => rulebreakers[name]?.says !== null)
    const rows = await fullRows(db)
    expect(rows.map(({ payload }) => payload)).toEqual(failing)
    for (const { payload, state, attempt, last_error } of rows) {
      const name = payload as string
      expect([state, attempt, last_error?.failedBy], name).toEqual(['failed', 1, 'exhausted'])
      expect(last_error?.message, name).toContain(rulebreakers[name]?.says)
    }
    for (const name of names) {
      expect(
        handled.filter((payload) => payload === name),
        name,
      ).toHaveLength(rulebreakers[name]?.handled ?? -1)
    }
    // It is a failure like a handler's own: the retry strategy decides.
    expect(asked).toEqual(failing)
    expect(await consumer.stop()).toMatchObject({
      completed: 2 * names.length - failing.length,
      failed: failing.length,
    })
  })
}

test('middleware: what it throws is retried like a handler’s error', async ({ db }) => {
  const bugle = db.bugle()
  const attempts: number[] = []
  const consumer = await bugle.consume('q', () => {}, {
    retryStrategy: { maxAttempts: 3 },
    middleware: [
      async (job, _, next) => {
        attempts.push(job.attempt)
        await next()
        if (job.attempt < 3) broken()
      },
    ],
  })
  await bugle.put('q', null)
  await consumer.idle()
  expect(attempts).toEqual([1, 2, 3])
  expect(await db.jobs()).toEqual([])
})

test('middleware: a next() that nobody looks at hurts nothing, whenever it is called', async ({ db }) => {
  const unhandled: unknown[] = []
  const onUnhandled = (reason: unknown): void => void unhandled.push(reason)
  process.on('unhandledRejection', onUnhandled)
  try {
    const bugle = db.bugle()
    const calls: (() => Promise<Outcome>)[] = []
    const handled: unknown[] = []
    const consumer = await bugle.consume('q', (job) => void handled.push(job.payload), {
      middleware: [
        (_, __, next) => {
          calls.push(next)
          void next()
          // A mistake: it does not wait for the outcome, and so does not see the refusal.
          void next()
        },
      ],
    })
    await bugle.put('q', 1)
    await consumer.idle()
    // A call after the run's end starts no second run under a lease that is settled.
    for (const next of calls) void next()
    await bugle.put('q', 2)
    await consumer.idle()
    expect(handled).toEqual([1, 2])
    expect(await db.jobs()).toEqual([])
    // An unhandled rejection would end the process.
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', onUnhandled)
  }
})

test('middleware: next() after its own end does not run the handler, and says so', async ({ db, gate }) => {
  const bugle = db.bugle()
  const late = gate()
  const handled: unknown[] = []
  const answer = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => void handled.push(job.payload), {
    middleware: [
      ({ payload }, _, next) => {
        if (payload === 'fence') return next()
        void late.promise.then(next).then(answer.resolve, answer.resolve)
        return ack()
      },
    ],
  })
  await bugle.put('q', 'too late')
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  late.resolve()
  expect(await answer.promise).toMatchObject({ message: 'a middleware called next() after its own end' })
  await bugle.put('q', 'fence')
  await consumer.idle()
  expect(handled).toEqual(['fence'])
})

test('middleware: a slot is free only when the handler has ended, whatever the middleware says meanwhile', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const blocked = gate()
  const begun = signal()
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'q',
    async ({ payload }) => {
      seen.push(payload)
      begun.resolve()
      if (payload === 'first') await blocked.promise
      seen.push(`${payload} ends`)
    },
    {
      concurrency: 1,
      middleware: [
        (_, __, next) => {
          void next()
          return ack('early')
        },
      ],
    },
  )
  await bugle.putMany('q', ['first', 'second'])
  await begun.promise
  // A job of another queue runs to its end. By then everything that could happen in the first queue has happened.
  const fence = signal()
  await bugle.consume('fence', () => fence.resolve())
  await bugle.put('fence', null)
  await fence.promise
  expect((await fullRows(db)).filter(({ queue }) => queue === 'q')).toMatchObject([
    { payload: 'first', state: 'running' },
    { payload: 'second', state: 'ready' },
  ])
  expect(acked.all.filter(({ queue }) => queue === 'q')).toEqual([])
  blocked.resolve()
  await consumer.idle()
  expect(seen).toEqual(['first', 'first ends', 'second', 'second ends'])
})
