import { expect } from 'vitest'
import { z } from 'zod'
import { isOutcome, type Job, type Middleware, partial, reject } from '../../../src/index.js'
import { test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'

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
  // The middleware of one consumer does not run for another.
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
    { concurrency: 1, prefetch: 0, retryStrategy: { maxAttempts: 2 } },
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
