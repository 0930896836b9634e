import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { ack, partial, reject, release, retry } from '../../src/index.js'
import { runOne } from '../../src/testing/index.js'
import { db, open, refused, withDatabase } from '../support/testing-database.js'

withDatabase()

describe('runOne', () => {
  test('runs the next job in order to its end, and no other', async () => {
    const bugle = open()
    const [first, second] = await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    const urgent = await bugle.put('emails', { to: 'c' }, { priority: 1 })
    const result = await runOne(bugle, 'emails', async (job) => `sent to ${job.payload.to}`)
    expect(result).toMatchObject({
      job: { id: urgent, payload: { to: 'c' }, attempt: 1 },
      outcome: 'acked',
      result: 'sent to c',
      error: null,
      cause: null,
      runAt: null,
    })
    expect(result?.runMs).toBeGreaterThan(0)
    // The ack is durable. The other jobs were never touched, not even claimed and given back.
    const { jobs } = await bugle.jobs()
    expect(jobs.map(({ id, state, claimedAt }) => ({ id, state, claimedAt }))).toEqual([
      { id: second, state: 'ready', claimedAt: null },
      { id: first, state: 'ready', claimedAt: null },
    ])
  })

  test('claims one job only, also where that one never comes to its handler', async () => {
    const bugle = db.bugle({ schemas: { emails: z.object({ to: z.string() }) } })
    onTestFinished(() => bugle.close())
    const raw = open()
    await raw.put('emails', { to: 1 } as never)
    await raw.put('emails', { to: 'b' })
    const ran: string[] = []
    const result = await runOne(bugle, 'emails', (job) => {
      ran.push(job.payload.to)
    })
    expect(result).toMatchObject({ job: { payload: { to: 1 } }, outcome: 'failed', cause: 'invalid', runMs: 0 })
    expect(result?.error).toMatchObject({ code: 'VALIDATION_FAILED' })
    expect(ran).toEqual([])
    expect((await raw.jobs({ state: 'ready' })).jobs).toMatchObject([{ attempt: 0, claimedAt: null }])
  })

  test('null where nothing is ready, or the queue is paused', async () => {
    const bugle = open()
    const handler = () => expect.unreachable()
    expect(await runOne(bugle, 'emails', handler)).toBeNull()
    await bugle.put('emails', { to: 'a' }, { delayMs: 60_000 })
    expect(await runOne(bugle, 'emails', handler)).toBeNull()
    await bugle.put('emails', { to: 'b' })
    await bugle.pause('emails')
    expect(await runOne(bugle, 'emails', handler)).toBeNull()
  })

  test('tells every outcome', async () => {
    const bugle = open()
    const error = new Error('no line')
    const cases = [
      [() => ack({ n: 1 }), { outcome: 'acked', result: { n: 1 } }],
      [
        () => reject('nobody'),
        { outcome: 'failed', cause: 'rejected', error: { message: expect.stringContaining('nobody') } },
      ],
      [
        () => {
          throw error
        },
        { outcome: 'retrying', error, runAt: expect.any(Date) },
      ],
      [() => retry({ delayMs: 60_000, reason: 'busy' }), { outcome: 'retrying', runAt: expect.any(Date) }],
      [() => release({ delayMs: 60_000 }), { outcome: 'released', error: null }],
      [() => partial({ page: 1 }, { delayMs: 60_000 }), { outcome: 'partial', runAt: expect.any(Date) }],
    ] as const
    for (const [handler, expected] of cases) {
      await bugle.put('emails', { to: 'a' })
      expect(await runOne(bugle, 'emails', handler)).toMatchObject(expected)
      await db.reset()
    }
    await bugle.put('emails', { to: 'a' })
    const last = { retryStrategy: false } as const
    const failing = async () => {
      throw error
    }
    expect(await runOne(bugle, 'emails', failing, last)).toMatchObject({ outcome: 'failed', cause: 'exhausted', error })
  })

  test('a job that was deleted under its handler is stale', async () => {
    const bugle = open()
    await bugle.put('emails', { to: 'a' })
    expect(await runOne(bugle, 'emails', () => db.reset())).toMatchObject({ outcome: 'stale', result: undefined })
  })

  test('a run that the signal ends is interrupted, and given back', async () => {
    const bugle = open()
    const id = await bugle.put('emails', { to: 'a' })
    const stop = new AbortController()
    const handler = async (_job: unknown, ctx: { signal: AbortSignal }) => {
      stop.abort()
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
      throw new Error('stopped')
    }
    const result = await runOne(bugle, 'emails', handler, { signal: stop.signal, graceMs: 0 })
    expect(result).toMatchObject({ outcome: 'interrupted', job: { id } })
    expect(await bugle.job(id)).toMatchObject({ state: 'ready', attempt: 0 })
  })

  test('has the options of consume: handlers by kind, context, middleware, onFailed', async () => {
    const bugle = open()
    await bugle.put('media', { file: 'a.png' }, { kind: 'thumb' })
    await bugle.put('media', { url: 'b' }, { kind: 'probe' })
    const seen: unknown[] = []
    const result = await runOne(
      bugle,
      'media',
      { probe: (job, ctx) => reject(`${job.payload.url} ${ctx.context}`) },
      {
        context: 'c',
        middleware: [
          async (_job, _ctx, next) => {
            const outcome = await next()
            seen.push(outcome.type)
            return outcome
          },
        ],
        onFailed: (job, error) => {
          seen.push(job.kind, error.message)
        },
      },
    )
    expect(result).toMatchObject({ outcome: 'failed', job: { kind: 'probe' } })
    expect(seen).toEqual(['reject', 'probe', 'b c'])
  })

  test('runs after one another, and beside other queues; a queue that is consumed already is refused', async () => {
    const bugle = open()
    await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    await bugle.put('others', { n: 1 })
    const [email, other] = await Promise.all([
      runOne(bugle, 'emails', (job) => job.payload.to),
      runOne(bugle, 'others', (job) => job.payload.n),
    ])
    expect([email?.result, other?.result]).toEqual(['a', 1])
    expect((await runOne(bugle, 'emails', (job) => job.payload.to))?.result).toBe('b')
    await bugle.consume('emails', () => {})
    expect(await refused(runOne(bugle, 'emails', () => {}))).toMatchObject({ code: 'ALREADY_CONSUMING' })
  })

  test('what is not an instance, and options that would make it more than one, are refused', async () => {
    const bugle = open()
    const options = { concurrency: 2 } as object
    expect(await refused(runOne(bugle, 'emails', () => {}, options))).toMatchObject({ code: 'INVALID_OPTION' })
    expect(await refused(runOne({ ...bugle }, 'emails', () => {}))).toMatchObject({ code: 'INVALID_OPTION' })
  })
})
