import { expect } from 'vitest'
import { BugleError, exponential, fixed, type Job, linear, type RetryDecision, retry } from '../../../src/index.js'
import { broken, throwing } from '../../support/broken.js'
import { signal, test } from '../../support/database.js'
import { fullRows, hasten } from '../../support/rows.js'
import { recordSettlings, waitOf } from '../../support/settlings.js'

/** `delaysMs` as it is given, and the delays before the first five retries that follow from it. */
const delayTable: Record<string, { delaysMs: number | number[] | undefined; comesTo: number[] }> = {
  'no delays': { delaysMs: undefined, comesTo: [0, 0, 0, 0, 0] },
  'an empty list': { delaysMs: [], comesTo: [0, 0, 0, 0, 0] },
  '[0]': { delaysMs: [0], comesTo: [0, 0, 0, 0, 0] },
  '[1000]': { delaysMs: [1000], comesTo: [1000, 1000, 1000, 1000, 1000] },
  '1000 for all': { delaysMs: 1000, comesTo: [1000, 1000, 1000, 1000, 1000] },
  '[1000, 2000]': { delaysMs: [1000, 2000], comesTo: [1000, 2000, 2000, 2000, 2000] },
}

for (const retries of [0, 1, 2, 5]) {
  test(`D2 maxAttempts ${retries + 1}: so many runs, and the last delay repeats`, async ({ db }) => {
    const bugle = db.bugle()
    const settlings = await recordSettlings(db)
    const retrying = db.collect(bugle, 'job:retrying')
    const failed = db.collect(bugle, 'job:failed')
    hasten(db, bugle)
    const runs: string[] = []
    const names = Object.keys(delayTable)
    for (const name of names) {
      const handler = (job: Job): never => {
        runs.push(job.id)
        throw new Error(`run ${job.attempt}`)
      }
      await bugle.consume(name, handler, {
        retryStrategy: { maxAttempts: retries + 1, delaysMs: delayTable[name]?.delaysMs },
      })
      await bugle.put(name, null)
    }
    for (const _ of names) expect(await failed.next()).toMatchObject({ attempt: retries + 1, cause: 'exhausted' })
    const rows = await fullRows(db)
    expect(rows.map(({ queue }) => queue)).toEqual(names)
    for (const { id, queue, ...row } of rows) {
      expect(row, queue).toMatchObject({ state: 'failed', attempt: retries + 1, worker_id: null })
      expect(row.last_error, queue).toMatchObject({ message: `run ${retries + 1}`, failedBy: 'exhausted' })
      expect(runs.filter((job) => job === id)).toHaveLength(retries + 1)
      const delays = delayTable[queue]?.comesTo.slice(0, retries) ?? []
      expect(await settlings(id), queue).toEqual(delays.map((ms) => waitOf(ms)))
      const told = retrying.all.filter((event) => event.id === id)
      expect(told.map(({ attempt, retriesLeft }) => [attempt, retriesLeft])).toEqual(
        delays.map((_, index) => [index + 1, retries - index - 1]),
      )
    }
  })
}

test('D2 a job that is retried runs at its time by itself, with its attempts counted', async ({ db }) => {
  const bugle = db.bugle()
  const runs: unknown[] = []
  const retrying = db.collect(bugle, 'job:retrying')
  const acked = db.collect(bugle, 'job:acked')
  await bugle.consume(
    'emails',
    async ({ id, attempt, runAt }) => {
      const [row] = await db.sql.unsafe<{ due: boolean; at: number }[]>(
        `select claimed_at >= run_at as due, (extract(epoch from run_at) * 1000)::float8 as at
         from ${db.s}.job where id = $1`,
        [id],
      )
      runs.push([attempt, row?.due])
      expect(runAt).toEqual(new Date(row?.at ?? 0))
      if (attempt < 3) broken()
    },
    { retryStrategy: { maxAttempts: 3, delaysMs: [0, 50] } },
  )
  await bugle.put('emails', null)
  expect(await acked.next()).toMatchObject({ attempt: 3 })
  expect(runs).toEqual([
    [1, true],
    [2, true],
    [3, true],
  ])
  expect(retrying.all.map(({ attempt, retriesLeft }) => [attempt, retriesLeft])).toEqual([
    [1, 1],
    [2, 0],
  ])
  expect(await db.jobs()).toEqual([])
})

test('D2 a strategy decides by job and error, once a failed run, and may take its time', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  class Busy extends Error {}
  const asked: unknown[] = []
  await bugle.consume(
    'emails',
    ({ attempt }) => {
      throw attempt < 3 ? new Busy(`busy ${attempt}`) : new TypeError('a bug')
    },
    {
      retryStrategy: async ({ payload, attempt }, error): Promise<RetryDecision> => {
        asked.push([payload, attempt, error.message])
        // A look at the database meanwhile.
        await db.sql`select`
        return error instanceof Busy ? { delayMs: attempt * 100 } : false
      },
    },
  )
  const id = await bugle.put('emails', 'hello')
  expect(await failed.next()).toMatchObject({ id, attempt: 3, cause: 'exhausted', error: { message: 'a bug' } })
  expect(asked).toEqual([
    ['hello', 1, 'busy 1'],
    ['hello', 2, 'busy 2'],
    ['hello', 3, 'a bug'],
  ])
  expect(await settlings(id)).toEqual([waitOf(100), waitOf(200)])
})

const asking = (retryAfterMs: unknown): Error => Object.assign(new Error('slow down'), { retryAfterMs })

/** What a first run ends with, and the delay that follows, where the strategy is one retry after 1000 ms. */
const askedDelays: Record<string, [run: () => unknown, ms: number]> = {
  'an error that asks for 250 ms': [throwing(asking(250)), 250],
  'an error that asks for a fraction': [throwing(asking(249.5)), 250],
  'an error that asks for no wait': [throwing(asking(0)), 0],
  'an error that asks for an hour': [throwing(asking(3_600_000)), 3_600_000],
  'an error that asks for less than nothing': [throwing(asking(-1)), 1000],
  'an error that asks for NaN': [throwing(asking(Number.NaN)), 1000],
  'an error that asks for ever': [throwing(asking(Number.POSITIVE_INFINITY)), 1000],
  'an error that asks by a text': [throwing(asking('250')), 1000],
  'an error whose retryAfterMs throws': [
    throwing(Object.defineProperty(new Error('x'), 'retryAfterMs', { get: broken })),
    1000,
  ],
  'an object that is no error': [throwing({ retryAfterMs: 250 }), 1000],
  'a string': [throwing('slow down'), 1000],
  'retry()': [() => retry(), 1000],
  'retry() for a reason that asks for 250 ms': [() => retry({ reason: asking(250) }), 250],
  'retry() with a delay': [() => retry({ delayMs: 300 }), 300],
  'retry() with a delay, for a reason that asks for another': [() => retry({ delayMs: 300, reason: asking(250) }), 300],
  'retry() without a wait': [() => retry({ delayMs: 0 }), 0],
  'retry() in a hundred years': [() => retry({ delayMs: 3_155_760_000_000 }), 3_155_760_000_000],
}

test('D2 the delay is that of retry(), else the one that the error asks for, else the strategy’s', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  await bugle.consume('emails', ({ payload }) => askedDelays[payload as string]?.[0](), {
    retryStrategy: { maxAttempts: 2, delaysMs: [1000] },
  })
  const names = Object.keys(askedDelays)
  const ids = await bugle.putMany('emails', names)
  // However it asks, the number of runs stays the strategy's.
  for (const _ of names) expect(await failed.next()).toMatchObject({ attempt: 2, cause: 'exhausted' })
  for (const [index, name] of names.entries()) {
    expect(await settlings(ids[index] ?? ''), name).toEqual([waitOf(askedDelays[name]?.[1] ?? -1)])
  }
})

test('D2 a strategy’s one delay goes before the error’s, and an error asks for no run of its own', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const handler = throwing(asking(250))
  const once = await bugle.consume('once', handler, {
    retryStrategy: ({ attempt }) => attempt === 1 && { delayMs: 400 },
  })
  const never = await bugle.consume('never', handler, { retryStrategy: { maxAttempts: 1 } })
  const id = await bugle.put('once', null)
  await bugle.put('never', null)
  await Promise.all([once.idle(), never.idle()])
  expect(await settlings(id)).toEqual([waitOf(400)])
  expect(await fullRows(db)).toMatchObject([
    { queue: 'once', state: 'scheduled', attempt: 1 },
    { queue: 'never', state: 'failed', attempt: 1 },
  ])
})

test('D2 without a strategy a job has five runs, about 1, 2, 4 and 8 seconds apart', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  await bugle.consume('emails', broken)
  const id = await bugle.put('emails', null)
  expect(await failed.next()).toMatchObject({ attempt: 5 })
  expect(await settlings(id)).toEqual([1000, 2000, 4000, 8000].map((ms) => waitOf(ms * 0.8, ms)))
})

test('D2 fixed, linear and exponential, without jitter', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  const strategies = {
    fixed: fixed({ delayMs: 300, maxAttempts: 4 }),
    linear: linear({ baseMs: 300, maxMs: 700, jitter: false, maxAttempts: 4 }),
    exponential: exponential({ baseMs: 300, factor: 3, jitter: 0, maxAttempts: 4 }),
  }
  const ids = new Map<string, string>()
  for (const [queue, retryStrategy] of Object.entries(strategies)) {
    await bugle.consume(queue, broken, { retryStrategy })
    ids.set(queue, await bugle.put(queue, null))
  }
  for (const _ of ids) expect(await failed.next()).toMatchObject({ attempt: 4 })
  expect(await settlings(ids.get('fixed') ?? '')).toEqual([300, 300, 300].map((ms) => waitOf(ms)))
  expect(await settlings(ids.get('linear') ?? '')).toEqual([300, 600, 700].map((ms) => waitOf(ms)))
  expect(await settlings(ids.get('exponential') ?? '')).toEqual([300, 900, 2700].map((ms) => waitOf(ms)))
})

test('D2 unless: an error of such a class is not tried again', async ({ db }) => {
  const bugle = db.bugle()
  const retryStrategy = fixed({ delayMs: 60_000, unless: [TypeError, BugleError] })
  class Worse extends TypeError {}
  const thrown = [
    new TypeError('a bug'),
    new Worse('worse'),
    new BugleError('CLOSED', 'closed'),
    new Error('once more'),
  ]
  const consumer = await bugle.consume('emails', ({ payload }) => Promise.reject(thrown[payload as number]), {
    retryStrategy,
  })
  await bugle.putMany('emails', [...thrown.keys()], { maxAttempts: 9 })
  await consumer.idle()
  expect((await fullRows(db)).map(({ state, last_error }) => [state, last_error?.failedBy])).toEqual([
    ['failed', 'exhausted'],
    ['failed', 'exhausted'],
    ['failed', 'exhausted'],
    ['scheduled', 'retrying'],
  ])
})

/** The strategy, a job's own limit, and the runs that it gets. */
const limits: [RetryDecision | 'default', maxAttempts: number, runs: number][] = [
  [{ maxAttempts: 6 }, 2, 2],
  [{ maxAttempts: 6 }, 1, 1],
  [{ maxAttempts: 2 }, 4, 4],
  [{ maxAttempts: 1 }, 3, 3],
  [{ delayMs: 0 }, 3, 3],
  [false, 3, 1],
  ['default', 2, 2],
  ['default', 7, 7],
]

test('D2 a job’s own maxAttempts is its limit, fewer or more than the strategy’s', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const retrying = db.collect(bugle, 'job:retrying')
  hasten(db, bugle)
  const seen = new Set<unknown>()
  for (const [index, [decision, maxAttempts]] of limits.entries()) {
    const handler = (job: Job): never => {
      seen.add([job.queue, job.maxAttempts].join())
      throw new Error('broken')
    }
    const options = decision === 'default' ? {} : { retryStrategy: () => decision }
    await bugle.consume(`queue ${index}`, handler, options)
    await bugle.put(`queue ${index}`, null, { maxAttempts })
  }
  // The limit is the row's, whoever wrote it.
  await bugle.consume('by SQL', broken, { retryStrategy: { maxAttempts: 6 } })
  await db.sql.unsafe(`insert into ${db.s}.job (queue, max_attempts) values ('by SQL', 2)`)
  for (let left = limits.length + 1; left > 0; left -= 1) expect((await failed.next()).cause).toBe('exhausted')
  const rows = await fullRows(db)
  expect(rows.map(({ attempt }) => attempt)).toEqual([...limits.map(([, , runs]) => runs), 2])
  expect(seen).toEqual(new Set(limits.map(([, maxAttempts], index) => `queue ${index},${maxAttempts}`)))
  for (const { queue, attempt, retriesLeft } of retrying.all) {
    const max = rows.find((row) => row.queue === queue)?.max_attempts ?? 0
    expect(retriesLeft).toBe(max - attempt - 1)
  }
})

test('the retry example: ten jobs that fail half the time, two retries; acked and failed add up to ten', async ({
  db,
}) => {
  const bugle = db.bugle()
  const hook: string[] = []
  const runs = new Map<number, number[]>()
  let acked = 0
  let failed = 0
  const done = signal()
  const count = () => {
    if (acked + failed === 10) done.resolve()
  }
  bugle.on('job:acked', () => {
    acked += 1
    count()
  })
  bugle.on('job:failed', () => {
    failed += 1
    count()
  })
  /** Half of all first runs, of all second ones and of all third ones; each in its own pattern. */
  const fails = (n: number, attempt: number): boolean => ((n >> (attempt - 1)) & 1) === 1
  await bugle.consume(
    'flaky',
    ({ payload, attempt }) => {
      const n = payload as number
      runs.set(n, [...(runs.get(n) ?? []), attempt])
      if (fails(n, attempt)) throw Object.assign(new Error(`no luck with ${n}`), { retryAfterMs: 20 })
    },
    {
      retryStrategy: { maxAttempts: 3, delaysMs: [60_000] },
      onFailed: (job, error) => void hook.push(`${job.payload}: ${error.message} after ${job.attempt}`),
    },
  )
  await bugle.putMany('flaky', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  await done.promise
  expect(acked + failed).toBe(10)
  // Only 7 = 0b111 fails three times.
  expect([acked, failed]).toEqual([9, 1])
  expect(hook).toEqual(['7: no luck with 7 after 3'])
  expect(Object.fromEntries(runs)).toEqual({
    0: [1],
    1: [1, 2],
    2: [1],
    3: [1, 2, 3],
    4: [1],
    5: [1, 2],
    6: [1],
    7: [1, 2, 3],
    8: [1],
    9: [1, 2],
  })
  expect(await fullRows(db)).toMatchObject([{ payload: 7, state: 'failed', attempt: 3 }])
})
