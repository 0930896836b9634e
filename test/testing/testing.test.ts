import postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { ack, type Kinds, partial, reject, release, retry } from '../../src/index.js'
import {
  collectEvents,
  drain,
  makeDue,
  runOne,
  startTestDatabase,
  type TestDatabase,
  testContext,
  testJob,
  waitForJob,
} from '../../src/testing/index.js'
import { holdAnswers } from '../support/held-claims.js'
import { signal } from '../support/signal.js'

type Queues = {
  emails: { to: string }
  others: { n: number }
  media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
}

let db: TestDatabase
beforeAll(async () => {
  db = await startTestDatabase({ connectionString: inject('connectionString') })
})
beforeEach(() => db.reset())
afterAll(() => db.stop())

function open() {
  const bugle = db.bugle<Queues>()
  onTestFinished(() => bugle.close())
  return bugle
}

/** What it rejects with. */
function refused(pending: Promise<unknown>): Promise<Error> {
  return pending.then(
    () => expect.unreachable(),
    (error) => error,
  )
}

async function schemas(connectionString: string): Promise<string[]> {
  const sql = postgres(connectionString, { max: 1 })
  const rows = await sql<{ nspname: string }[]>`select nspname from pg_namespace where nspname like 'bugle%'`
  await sql.end()
  return rows.map((row) => row.nspname)
}

describe('startTestDatabase', () => {
  test('each call has a migrated schema of its own, which its stop drops', async () => {
    const connectionString = inject('connectionString')
    const one = await startTestDatabase({ connectionString })
    const other = await startTestDatabase({ connectionString })
    expect(one.schema).not.toBe(other.schema)
    await one.bugle().put('emails', {})
    expect((await other.bugle().jobs()).jobs).toEqual([])
    expect(await schemas(connectionString)).toEqual(expect.arrayContaining([one.schema, other.schema]))
    await Promise.all([one.stop(), one.stop(), other[Symbol.asyncDispose]()])
    const left = await schemas(connectionString)
    expect(left).not.toContain(one.schema)
    expect(left).not.toContain(other.schema)
    expect(await refused(one.reset())).toMatchObject({ code: 'CLOSED' })
  })

  test('its stop closes the instances and aborts what runs', async () => {
    const own = await startTestDatabase({ connectionString: inject('connectionString') })
    const bugle = own.bugle()
    const began = signal()
    const aborted = signal<unknown>()
    await bugle.consume('emails', async (_job, ctx) => {
      began.resolve()
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
      aborted.resolve(ctx.signal.reason.code)
      ctx.signal.throwIfAborted()
    })
    await bugle.put('emails', {})
    await began.promise
    await own.stop()
    expect(await aborted.promise).toBe('SHUTDOWN')
    expect(await refused(bugle.put('emails', {}))).toMatchObject({ code: 'CLOSED' })
  })

  test('without a connection string all calls share one embedded server', async () => {
    expect(process.env.BUGLE_TEST_DATABASE_URL).toBeUndefined()
    const [one, other] = await Promise.all([startTestDatabase(), startTestDatabase()])
    expect(one.connectionString).toBe(other.connectionString)
    expect(one.connectionString).not.toContain(new URL(inject('connectionString')).host)
    await Promise.all([one.stop(), other.stop()])
    const later = await startTestDatabase()
    expect(later.connectionString).toBe(one.connectionString)
    await later.stop()
  })

  test('BUGLE_TEST_DATABASE_URL names the server, DATABASE_URL does not', async () => {
    const { BUGLE_TEST_DATABASE_URL: _, DATABASE_URL: before, ...env } = process.env
    process.env.BUGLE_TEST_DATABASE_URL = inject('connectionString')
    process.env.DATABASE_URL = 'postgres://nobody@127.0.0.1:1/nothing'
    onTestFinished(() => {
      process.env = before === undefined ? env : { ...env, DATABASE_URL: before }
    })
    const own = await startTestDatabase()
    expect(own.connectionString).toBe(inject('connectionString'))
    await own.stop()
  })

  test('wrong options are refused, and a server that is not there is told', async () => {
    expect(await refused(startTestDatabase({ schema: 'bugle' } as object))).toMatchObject({ code: 'INVALID_OPTION' })
    expect(await refused(startTestDatabase({ connectionString: '' }))).toMatchObject({ code: 'INVALID_OPTION' })
    expect(
      await refused(startTestDatabase({ connectionString: inject('connectionString'), embedded: {} })),
    ).toMatchObject({ code: 'INVALID_OPTION' })
    const nowhere = 'postgres://nobody@127.0.0.1:1/nothing'
    expect(await refused(startTestDatabase({ connectionString: nowhere }))).toMatchObject({ code: 'DATABASE_DOWN' })
  })

  test('reset deletes jobs of every state, and resumes queues', async () => {
    const bugle = open()
    await bugle.pause('others')
    await bugle.put('others', { n: 1 })
    await bugle.put('others', { n: 1 }, { delayMs: 60_000 })
    await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    await runOne(bugle, 'emails', () => reject('no'))
    await runOne(bugle, 'emails', () => ack(), { keep: 'all' })
    expect((await bugle.jobs()).jobs.map(({ state }) => state).sort()).toEqual([
      'archived',
      'failed',
      'ready',
      'scheduled',
    ])
    await db.reset()
    expect((await bugle.jobs()).jobs).toEqual([])
    expect(await bugle.resume('others')).toBe(false)
  })
})

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
    // Durable, and the others were never touched, not even claimed and given back.
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

describe('drain', () => {
  test('runs what is ready, what handlers put meanwhile, and tells of each in order', async () => {
    const bugle = open()
    await bugle.putMany('others', [{ n: 1 }, { n: 2 }])
    await bugle.put('others', { n: 9 }, { delayMs: 60_000 })
    const results = await drain(bugle, 'others', async (job, ctx) => {
      if (job.payload.n === 1) await ctx.bugle.put('others', { n: 3 })
      if (job.payload.n === 2) return reject('two')
      return job.payload.n
    })
    expect(results).toMatchObject([
      { outcome: 'acked', result: 1 },
      { outcome: 'failed', result: undefined },
      { outcome: 'acked', result: 3 },
    ])
    expect((await bugle.jobs()).jobs.map(({ state }) => state)).toEqual(['scheduled', 'failed'])
    expect(await drain(bugle, 'others', () => expect.unreachable())).toEqual([])
  })

  test('with concurrency tells the runs of a job apart that goes back and is claimed again at once', async () => {
    const bugle = open()
    for (let round = 0; round < 5; round += 1) {
      await bugle.putMany(
        'others',
        Array.from({ length: 60 }, (_, n) => ({ n })),
      )
      const results = await drain(
        bugle,
        'others',
        (job) => (job.attempt < 4 ? retry({ delayMs: 0 }) : { last: job.id }),
        { concurrency: 8 },
      )
      expect(results).toHaveLength(240)
      for (const { job, outcome, result } of results)
        expect([job.attempt, outcome, result]).toEqual(
          job.attempt < 4 ? [job.attempt, 'retrying', undefined] : [4, 'acked', { last: job.id }],
        )
    }
  })

  test("until 'scheduled' a job that always throws has all its attempts at once", async () => {
    const bugle = open()
    await bugle.put('emails', { to: 'a' })
    await bugle.put('emails', { to: 'b' }, { delayMs: 3_600_000 })
    const results = await drain(
      bugle,
      'emails',
      (job) => {
        if (job.payload.to === 'a') throw new Error(`run ${job.attempt}`)
      },
      { until: 'scheduled' },
    )
    const outcomes = results.map(({ job, outcome, error }) => [
      job.payload.to,
      job.attempt,
      outcome,
      error?.message ?? null,
    ])
    expect(outcomes.filter(([to]) => to === 'a')).toEqual([
      ['a', 1, 'retrying', 'run 1'],
      ['a', 2, 'retrying', 'run 2'],
      ['a', 3, 'retrying', 'run 3'],
      ['a', 4, 'retrying', 'run 4'],
      ['a', 5, 'failed', 'run 5'],
    ])
    expect(outcomes.filter(([to]) => to === 'b')).toEqual([['b', 1, 'acked', null]])
  })

  test("until 'scheduled' runs a job that became ready by itself after the last claim", async () => {
    const claims = await holdAnswers(inject('connectionString'))
    const bugle = db.bugle<Queues>({ connectionString: claims.connectionString, listen: false })
    onTestFinished(() => bugle.close())
    claims.hold(bugle, 'others')
    await bugle.put('others', { n: 1 }, { delayMs: 60_000 })
    const drained = drain(bugle, 'others', (job) => job.payload.n, { until: 'scheduled' })
    const first = await claims.next()
    first.answer()
    const nothingReady = await claims.next()
    expect(await makeDue(open(), 'others')).toBe(1)
    claims.open()
    nothingReady.answer()
    expect(await drained).toMatchObject([{ outcome: 'acked', result: 1 }])
    expect((await bugle.jobs()).jobs).toEqual([])
  })

  test("until 'scheduled' ends though a job is ready that is not for its handlers", async () => {
    const bugle = open()
    await bugle.put('media', { url: 'b' }, { kind: 'probe' })
    await bugle.put('media', { file: 'a' }, { kind: 'thumb', delayMs: 60_000 })
    const results = await drain(bugle, 'media', { thumb: () => {} } as never, { until: 'scheduled' })
    expect(results).toMatchObject([{ job: { kind: 'thumb' }, outcome: 'acked' }])
    expect((await bugle.jobs()).jobs).toMatchObject([{ kind: 'probe', state: 'ready' }])
  })

  test("until 'scheduled' ends though another consumer schedules its own again and again", async () => {
    const bugle = open()
    const consumer = await open().consume('media', { probe: () => release({ delayMs: 60_000 }) } as never)
    await bugle.put('media', { url: 'b' }, { kind: 'probe' })
    await bugle.put('media', { file: 'a' }, { kind: 'thumb', delayMs: 60_000 })
    const results = await drain(bugle, 'media', { thumb: () => {} } as never, { until: 'scheduled' })
    await consumer.stop()
    expect(results).toMatchObject([{ job: { kind: 'thumb' }, outcome: 'acked' }])
  })

  test('ends with an error after maxRuns', async () => {
    const bugle = open()
    await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    expect(await drain(bugle, 'emails', () => {}, { maxRuns: 2 })).toHaveLength(2)
    await bugle.put('emails', { to: 'a' })
    const forever = drain(bugle, 'emails', () => release({ delayMs: 0 }), { maxRuns: 3 })
    expect(await refused(forever)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('maxRuns'),
    })
  })
})

describe('makeDue', () => {
  test('makes scheduled jobs of one queue or of all ready, and wakes their consumers', async () => {
    const bugle = open()
    const ran = signal<number>()
    const consumer = await bugle.consume('others', (job) => ran.resolve(job.payload.n))
    await consumer.idle()
    const email = await bugle.put('emails', { to: 'a' }, { delayMs: 3_600_000, key: 'k' })
    await bugle.put('others', { n: 7 }, { runAt: new Date(Date.now() + 3_600_000) })
    expect(await makeDue(bugle, 'emails')).toBe(1)
    expect(await makeDue(bugle, 'emails')).toBe(0)
    const record = await bugle.job(email)
    expect(record).toMatchObject({ state: 'ready', key: 'k' })
    expect(record?.runAt.getTime()).toBeLessThan((record?.createdAt.getTime() ?? 0) + 3_600_000)
    expect(await makeDue(bugle)).toBe(1)
    expect(await ran.promise).toBe(7)
  })

  test('leaves running and failed jobs alone', async () => {
    const bugle = open()
    await bugle.put('emails', { to: 'a' })
    await runOne(bugle, 'emails', () => reject('no'))
    await bugle.put('emails', { to: 'b' })
    await runOne(bugle, 'emails', async () => {
      expect(await makeDue(bugle)).toBe(0)
    })
    expect((await bugle.jobs()).jobs.map(({ state }) => state)).toEqual(['failed'])
    // @ts-expect-error: not one of its queues
    expect(await refused(makeDue(bugle, ''))).toMatchObject({ code: 'INVALID_QUEUE' })
  })
})

describe('waitForJob', () => {
  test('finds what is there, and what comes or changes later, also by others', async () => {
    const bugle = open()
    const other = open()
    const id = await bugle.put('emails', { to: 'a' })
    expect(await waitForJob(bugle, (job) => job.queue === 'emails')).toMatchObject({ id, state: 'ready' })
    const failed = waitForJob(bugle, (job) => job.state === 'failed', { queue: 'emails' })
    const put = waitForJob(bugle, (job) => job.queue === 'others')
    await other.put('others', { n: 1 })
    expect(await put).toMatchObject({ payload: { n: 1 } })
    await runOne(bugle, 'emails', () => reject('no'))
    expect(await failed).toMatchObject({ id, error: { message: 'no' } })
  })

  test('times out with what was there instead', async () => {
    const bugle = open()
    expect(await refused(waitForJob(bugle, () => false, { timeoutMs: 0 }))).toMatchObject({
      code: 'TIMEOUT',
      message: 'no job matched within 0 ms; there was none',
    })
    const id = await bugle.put('emails', { to: 'a' })
    await runOne(bugle, 'emails', () => reject('no line'))
    const { message } = await refused(waitForJob(bugle, (job) => job.state === 'ready', { timeoutMs: 1 }))
    expect(message).toBe(
      `no job matched within 1 ms; there was 1:\n  ${id} "emails" failed, attempt 1, payload { to: 'a' }, last error: no line`,
    )
  })

  test('ends by its signal, and by what the predicate throws', async () => {
    const bugle = open()
    const stop = new AbortController()
    const waiting = refused(waitForJob(bugle, () => false, { signal: stop.signal }))
    stop.abort(new Error('enough'))
    expect(await waiting).toMatchObject({ message: 'enough' })
    await bugle.put('emails', { to: 'a' })
    const throwing = waitForJob(bugle, () => {
      throw new Error('wrong')
    })
    expect(await refused(throwing)).toMatchObject({ message: 'wrong' })
  })
})

describe('collectEvents', () => {
  test('records events in order, and hands each out once', async () => {
    const bugle = open()
    using events = collectEvents(bugle, ['job:started', 'job:acked', 'job:failed'])
    const soon = events.next('job:failed')
    const [one, two] = await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    await drain(bugle, 'emails', (job) => (job.payload.to === 'a' ? ack() : reject('b')))
    expect(await soon).toMatchObject({ id: two, cause: 'rejected' })
    expect(events.all.map(({ name, data }) => [name, data.id])).toEqual([
      ['job:started', one],
      ['job:acked', one],
      ['job:started', two],
      ['job:failed', two],
    ])
    expect(events.of('job:started').map(({ id }) => id)).toEqual([one, two])
    expect(await events.next('job:started', ({ id }) => id === two)).toMatchObject({ id: two })
    expect(await events.next('job:started')).toMatchObject({ id: one })
    expect(await refused(events.next('job:started', undefined, { timeoutMs: 1 }))).toMatchObject({
      code: 'TIMEOUT',
      message: 'no event job:started that matches came within 1 ms; there came: job:started (2), job:acked, job:failed',
    })
  })

  test('stops: what is waited for rejects, and nothing more comes', async () => {
    const bugle = open()
    const events = collectEvents(bugle)
    const waiting = refused(events.next('job:acked'))
    events.stop()
    expect(await waiting).toMatchObject({ code: 'CLOSED' })
    await bugle.put('emails', { to: 'a' })
    await runOne(bugle, 'emails', () => {})
    expect(events.all).toEqual([])
    const few = collectEvents(bugle, ['job:acked'])
    // @ts-expect-error: it is not collected
    expect(await refused(few.next('job:failed'))).toMatchObject({ code: 'INVALID_OPTION' })
    few.stop()
  })
})

describe('testJob and testContext', () => {
  test('are what a handler can be called with', async () => {
    const handler = async (job: ReturnType<typeof testJob<{ to: string }>>, ctx: ReturnType<typeof testContext>) =>
      `${job.payload.to} ${job.attempt} ${ctx.signal.aborted}`
    expect(await handler(testJob({ to: 'a' }, { attempt: 3 }), testContext())).toBe('a 3 false')
    const acked: unknown[] = []
    const ctx = testContext({ ack: async (tx) => void acked.push(tx) })
    await ctx.ack(async () => [])
    expect(acked).toHaveLength(1)
    expect(await refused(testContext().ack(async () => []))).toMatchObject({ code: 'INVALID_OPTION' })
  })
})
