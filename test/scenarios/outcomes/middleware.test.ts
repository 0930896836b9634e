import { expect } from 'vitest'
import { z } from 'zod'
import {
  ack,
  isOutcome,
  type Job,
  type Middleware,
  type Outcome,
  partial,
  reject,
  release,
  retry,
} from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { archivedRows, fullRows } from '../../support/rows.js'

const broken = (): never => {
  throw new Error('broken')
}

test('middleware: an onion, the instance’s around the consumer’s around the handler', async ({ db }) => {
  const order: unknown[] = []
  const layer =
    (name: string): Middleware =>
    async (job, _, next) => {
      order.push(`${name} before ${job.payload}`)
      const outcome = await next()
      order.push(`${name} after ${outcome.type}`)
    }
  const bugle = db.bugle({ middleware: [layer('instance 1'), layer('instance 2')] })
  const handler = (job: Job): unknown => {
    order.push(`handler ${job.payload}`)
    return job.payload === 'bad' ? reject('no') : 'result'
  }
  const own = await bugle.consume('own', handler, { middleware: [layer('consumer 1'), layer('consumer 2')] })
  const none = await bugle.consume('none', handler)
  await bugle.put('own', 'good')
  await own.idle()
  expect(order.splice(0)).toEqual([
    'instance 1 before good',
    'instance 2 before good',
    'consumer 1 before good',
    'consumer 2 before good',
    'handler good',
    'consumer 2 after ack',
    'consumer 1 after ack',
    'instance 2 after ack',
    'instance 1 after ack',
  ])
  // Those of one consumer are not another's.
  await bugle.put('none', 'bad')
  await none.idle()
  expect(order).toEqual([
    'instance 1 before bad',
    'instance 2 before bad',
    'handler bad',
    'instance 2 after reject',
    'instance 1 after reject',
  ])
  expect(await fullRows(db)).toMatchObject([{ queue: 'none', state: 'failed', last_error: { failedBy: 'rejected' } }])
})

test('middleware: sees the job as its handler does, the same context, and each run of it', async ({ db }) => {
  const seen: unknown[][] = []
  const see: Middleware = async (job, ctx, next) => {
    const now: unknown[] = [job, ctx]
    seen.push(now)
    now.push(await next())
  }
  const bugle = db.bugle({ schemas: { emails: z.object({ at: z.coerce.date<string>() }) }, middleware: [see] })
  const handled: unknown[][] = []
  const consumer = await bugle.consume(
    'emails',
    {
      letter: (job, ctx) => {
        handled.push([job, ctx])
        return job.attempt === 1 ? partial('half', { delayMs: 0 }) : { sent: job.payload }
      },
    },
    { middleware: [see] },
  )
  const id = await bugle.put('emails', { at: '2024-02-29T12:00:00.000Z' }, { kind: 'letter', key: 'ada' })
  await consumer.idle()
  expect(seen).toHaveLength(4)
  for (const [index, [job, ctx]] of seen.entries()) {
    const run = handled[Math.floor(index / 2)] ?? []
    expect(job).toBe(run[0])
    expect(ctx).toBe(run[1])
  }
  const payload = { at: new Date('2024-02-29T12:00:00.000Z') }
  expect(seen[0]?.[0]).toMatchObject({ id, kind: 'letter', key: 'ada', attempt: 1, payload, progress: null })
  expect(seen[2]?.[0]).toMatchObject({ id, attempt: 2, payload, progress: 'half' })
  expect(seen[0]?.[1]).toMatchObject({ workerId: bugle.workerId, bugle: { workerId: bugle.workerId } })
  const outcomes = seen.map(([, , outcome]) => outcome)
  expect(outcomes.every((outcome) => isOutcome(outcome) && Object.isFrozen(outcome))).toBe(true)
  expect(outcomes).toMatchObject([
    { type: 'partial', progress: 'half', delayMs: 0 },
    { type: 'partial', progress: 'half', delayMs: 0 },
    { type: 'ack', result: { sent: payload } },
    { type: 'ack', result: { sent: payload } },
  ])
})

const thrown = new Error('broken')
/** What a handler does, and what next() resolves with for it. */
const handlerEnds: Record<string, [end: () => unknown, outcome: Outcome | { type: string }]> = {
  nothing: [() => undefined, { type: 'ack', result: undefined }],
  'a value': [() => 5, { type: 'ack', result: 5 }],
  'ack()': [() => ack('done'), { type: 'ack', result: 'done' }],
  'reject()': [() => reject('no'), { type: 'reject', reason: 'no' }],
  'retry()': [() => retry({ delayMs: 60_000, reason: 'busy' }), { type: 'retry', delayMs: 60_000, reason: 'busy' }],
  'release()': [() => release({ delayMs: 60_000 }), { type: 'release', delayMs: 60_000 }],
  'partial()': [() => partial(1, { delayMs: 60_000 }), { type: 'partial', progress: 1, delayMs: 60_000 }],
  'a throw': [
    () => {
      throw thrown
    },
    { type: 'error', error: thrown },
  ],
  'a rejection with a text': [() => Promise.reject('text'), { type: 'error', error: 'text' }],
  'the throw of an ack': [
    () => {
      throw ack()
    },
    { type: 'error', error: ack() },
  ],
}

test('middleware: next() resolves with the outcome, whatever the handler does', async ({ db }) => {
  const outcomes = new Map<unknown, unknown>()
  const bugle = db.bugle({
    middleware: [
      async (job, _, next) => {
        outcomes.set(job.payload, await next())
      },
    ],
  })
  const names = Object.keys(handlerEnds)
  const consumer = await bugle.consume('q', ({ payload }) => handlerEnds[payload as string]?.[0](), {
    retryStrategy: false,
  })
  await bugle.putMany('q', names)
  await consumer.idle()
  for (const name of names) expect(outcomes.get(name), name).toMatchObject(handlerEnds[name]?.[1] ?? {})
  expect(outcomes.size).toBe(names.length)
  const explicit = await bugle.consume('explicit', () => 'done', { outcome: 'explicit' })
  await bugle.put('explicit', 'explicit')
  await explicit.idle()
  expect(outcomes.get('explicit')).toMatchObject({ type: 'reject', reason: { code: 'REJECTED' } })
})

test('middleware: an outcome that it returns takes the place of the inner one', async ({ db }) => {
  class Limited extends Error {}
  const bugle = db.bugle({
    middleware: [
      async (_, __, next) => {
        const outcome = await next()
        // The outermost has the last word, and sees what the inner one made of it.
        return outcome.type === 'reject' && outcome.reason === 'twice' ? ack('in the end') : outcome
      },
    ],
  })
  const consumer = await bugle.consume(
    'q',
    ({ payload }) => {
      if (payload === 'limited') throw new Limited('slow down')
      if (payload === 'broken') broken()
      if (payload === 'done') return { rows: 3 }
      if (payload === 'gone') return reject('gone')
      return 'two'
    },
    {
      keep: 'all',
      retryStrategy: false,
      middleware: [
        async ({ payload }, _, next) => {
          const outcome = await next()
          if (outcome.type === 'error' && outcome.error instanceof Limited) return release({ delayMs: 60_000 })
          if (outcome.type === 'reject') return ack('never mind')
          if (payload === 'two') return reject('twice')
          if (outcome.type === 'ack') return ack({ kept: outcome.result })
        },
      ],
    },
  )
  await bugle.putMany('q', ['limited', 'broken', 'done', 'gone', 'two'])
  await consumer.idle()
  expect((await archivedRows(db)).map(({ payload, result }) => [payload, result])).toEqual([
    ['done', { kept: { rows: 3 } }],
    ['gone', 'never mind'],
    ['two', 'in the end'],
  ])
  expect((await fullRows(db)).map(({ payload, state, attempt }) => [payload, state, attempt])).toEqual([
    ['limited', 'scheduled', 0],
    ['broken', 'failed', 1],
  ])
})

test('middleware: one that returns an outcome without next() goes before the handler, and all that is inside', async ({
  db,
}) => {
  const ran: unknown[] = []
  const outcomes: Record<string, () => Outcome> = {
    ack: () => ack('from outside'),
    reject: () => reject('closed today'),
    retry: () => retry({ delayMs: 60_000, reason: 'not yet' }),
    release: () => release({ delayMs: 60_000 }),
    partial: () => partial(2, { delayMs: 60_000 }),
  }
  const bugle = db.bugle({ middleware: [({ payload }, _, next) => outcomes[payload as string]?.() ?? next()] })
  const consumer = await bugle.consume('q', ({ payload }) => ran.push(payload), {
    keep: 'all',
    middleware: [
      (_, __, next) => {
        ran.push('inside')
        return next()
      },
    ],
  })
  await bugle.putMany('q', [...Object.keys(outcomes), 'through'])
  await consumer.idle()
  expect(ran).toEqual(['inside', 'through'])
  expect(await archivedRows(db)).toMatchObject([{ payload: 'ack', result: 'from outside' }, { payload: 'through' }])
  expect(await fullRows(db)).toMatchObject([
    { payload: 'reject', state: 'failed', last_error: { message: 'closed today', failedBy: 'rejected' } },
    { payload: 'retry', state: 'scheduled', attempt: 1, last_error: { message: 'not yet' } },
    { payload: 'release', state: 'scheduled', attempt: 0 },
    { payload: 'partial', state: 'scheduled', attempt: 1, progress: 2 },
  ])
})

/** What one may return that is no outcome. */
const noOutcomes: Record<string, () => unknown> = {
  nothing: () => undefined,
  null: () => null,
  true: () => true,
  'a text': () => 'ack',
  'what looks like an ack': () => ({ type: 'ack', result: 1 }),
  'the function ack': () => ack,
  'an ack in an array': () => [ack()],
}

test('middleware: whatever else it returns, the inner outcome stands, also a failure', async ({ db }) => {
  const bugle = db.bugle({
    middleware: [
      async (job, _, next) => {
        await next()
        return noOutcomes[(job.payload as { returns: string }).returns]?.()
      },
    ],
  })
  const ends: Record<string, () => unknown> = { acks: () => 'done', throws: broken, rejects: () => reject('no') }
  const consumer = await bugle.consume('q', (job) => ends[(job.payload as { ends: string }).ends]?.(), {
    keep: 'all',
    retryStrategy: false,
  })
  const jobs = Object.keys(noOutcomes).flatMap((returns) => Object.keys(ends).map((end) => ({ returns, ends: end })))
  await bugle.putMany('q', jobs)
  await consumer.idle()
  const archived = await archivedRows(db)
  expect(archived.map(({ payload }) => payload)).toEqual(jobs.filter((job) => job.ends === 'acks'))
  expect(archived.map(({ result }) => result)).toEqual(Object.keys(noOutcomes).map(() => 'done'))
  expect((await fullRows(db)).map(({ payload, last_error }) => [payload, last_error?.failedBy])).toEqual(
    jobs.filter((job) => job.ends !== 'acks').map((job) => [job, job.ends === 'throws' ? 'exhausted' : 'rejected']),
  )
})

/** Middleware that breaks the rules: whether the handler runs, and what the job's error says; null: it is acked. */
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
    // A failure like a handler's own: the strategy decides.
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
    retryStrategy: { retries: 2 },
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
          // A slip: the outcome is not waited for, and so the refusal is not seen.
          void next()
        },
      ],
    })
    await bugle.put('q', 1)
    await consumer.idle()
    // After its end: no second run under a lease that is settled.
    for (const next of calls) void next()
    await bugle.put('q', 2)
    await consumer.idle()
    expect(handled).toEqual([1, 2])
    expect(await db.jobs()).toEqual([])
    // Such a rejection would end the process.
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
  // A job of another queue goes all the way: what could have happened meanwhile has.
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

test('context: that of createBugle reaches handlers and middleware, that of consume goes before it', async ({ db }) => {
  const common = { mailer: 'instance' }
  const own = { mailer: 'consumer' }
  const seen: [unknown, unknown][] = []
  const bugle = db.bugle({
    context: common,
    middleware: [
      (job, ctx, next) => {
        seen.push([`middleware of ${job.queue}`, ctx.context])
        return next()
      },
    ],
  })
  const contexts: Record<string, object> = {
    default: {},
    undefined: { context: undefined },
    own: { context: own },
    null: { context: null },
  }
  for (const [queue, options] of Object.entries(contexts)) {
    const consumer = await bugle.consume(
      queue,
      (_, ctx) => void seen.push([`handler of ${queue}`, ctx.context]),
      options,
    )
    await bugle.put(queue, null)
    await consumer.idle()
  }
  const expected: [string, unknown][] = [
    ['default', common],
    ['undefined', common],
    ['own', own],
    ['null', null],
  ]
  expect(seen).toHaveLength(8)
  for (const [index, [queue, context]] of expected.entries()) {
    for (const [offset, who] of ['middleware', 'handler'].entries()) {
      const [what, was] = seen[index * 2 + offset] ?? []
      expect(what).toBe(`${who} of ${queue}`)
      expect(was).toBe(context)
    }
  }
  const plain = db.bugle()
  const contextless: unknown[] = []
  const consumer = await plain.consume('plain', (_, ctx) => void contextless.push(ctx.context))
  await plain.put('plain', null)
  await consumer.idle()
  expect(contextless).toEqual([undefined])
})

test('middleware: the three examples, a log, a timer and a report of errors', async ({ db }) => {
  const lines: string[] = []
  const timings: { queue: string; ms: number; type: string }[] = []
  const reports: { error: unknown; job: string; attempt: number }[] = []

  const logging: Middleware = async (job, _, next) => {
    lines.push(`${job.queue} ${job.payload}: run ${job.attempt}`)
    const outcome = await next()
    lines.push(`${job.queue} ${job.payload}: ${outcome.type}`)
  }
  const timing: Middleware = async (job, _, next) => {
    const startedAt = performance.now()
    const { type } = await next()
    timings.push({ queue: job.queue, ms: performance.now() - startedAt, type })
  }
  const reporting: Middleware<unknown, { report: (error: unknown, job: Job) => void }> = async (job, ctx, next) => {
    const outcome = await next()
    if (outcome.type === 'error') ctx.context.report(outcome.error, job)
    return outcome
  }

  const report = (error: unknown, { id, attempt }: Job): void => void reports.push({ error, job: id, attempt })
  const bugle = db.bugle({ middleware: [logging, timing, reporting as Middleware], context: { report } })
  const error = new Error('no connection')
  const consumer = await bugle.consume(
    'emails',
    ({ payload, attempt }) => {
      if (payload === 'flaky' && attempt === 1) throw error
      return payload === 'bad' ? reject('no such address') : undefined
    },
    { concurrency: 1, prefetch: 0, retryStrategy: { retries: 1 } },
  )
  const [, flaky] = await bugle.putMany('emails', ['good', 'flaky', 'bad'])
  await consumer.idle()
  // The flaky one is ready again at once, and older than the bad one.
  expect(lines).toEqual([
    'emails good: run 1',
    'emails good: ack',
    'emails flaky: run 1',
    'emails flaky: error',
    'emails flaky: run 2',
    'emails flaky: ack',
    'emails bad: run 1',
    'emails bad: reject',
  ])
  expect(timings.map(({ queue, type }) => [queue, type])).toEqual(
    ['ack', 'error', 'ack', 'reject'].map((type) => ['emails', type]),
  )
  for (const { ms } of timings) expect(ms).toBeGreaterThanOrEqual(0)
  expect(reports).toEqual([{ error, job: flaky, attempt: 1 }])
  expect(await fullRows(db)).toMatchObject([{ payload: 'bad', state: 'failed' }])
})
