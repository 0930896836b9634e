import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'vitest'
import { type BugleError, partial, reject, release, retry } from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { aborted, fence } from '../../support/stopping.js'

/** No retry within the test. */
const later = { maxAttempts: 4, delaysMs: 3_600_000 } as const

test(
  'G4 a run that is longer than the consumer’s timeoutMs: its signal says TIMEOUT, and it is retried as the ' +
    'strategy says',
  async ({ db }) => {
    const bugle = db.bugle()
    const timeouts = db.collect(bugle, 'job:timeout')
    const retrying = db.collect(bugle, 'job:retrying')
    const acked = db.collect(bugle, 'job:acked')
    const reasons: unknown[] = []
    const errors: Error[] = []
    await bugle.consume(
      'q',
      async (job, ctx) => {
        if (job.attempt === 2) {
          expect(ctx.signal.aborted).toBe(false)
          return
        }
        reasons.push(await aborted(ctx))
        throw new Error('its own words')
      },
      {
        timeoutMs: 60,
        retryStrategy: (_job, error) => {
          errors.push(error)
          return { delayMs: 0 }
        },
      },
    )
    const id = await bugle.put('q', 1)
    expect(await timeouts.next()).toMatchObject({ queue: 'q', id, attempt: 1, timeoutMs: 60 })
    expect(await retrying.next()).toMatchObject({ id, attempt: 1, error: { code: 'TIMEOUT' } })
    expect(await acked.next()).toMatchObject({ id, attempt: 2 })
    expect(reasons).toMatchObject([{ name: 'BugleError', code: 'TIMEOUT' }])
    expect(errors).toMatchObject([{ code: 'TIMEOUT' }])
    expect(await db.jobs()).toEqual([])
  },
)

test('G4 a timeout in the last attempt: failed, cause exhausted, and the row says TIMEOUT', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      throw await aborted(ctx)
    },
    { timeoutMs: 50, retryStrategy: false },
  )
  const id = await bugle.put('q', 1)
  expect(await failed.next()).toMatchObject({ id, cause: 'exhausted', error: { name: 'BugleError', code: 'TIMEOUT' } })
  expect(await db.jobs()).toMatchObject([
    { state: 'failed', attempt: 1, last_error: { name: 'BugleError', code: 'TIMEOUT', failedBy: 'exhausted' } },
  ])
  expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 1, interrupted: 0 })
})

test('G4 a job’s own timeoutMs overrides the consumer’s, whether shorter or longer, also where SQL put it', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const end = gate()
  const signals = new Map<unknown, AbortSignal>()
  const consumer = await bugle.consume(
    'q',
    async (job, ctx) => {
      signals.set(job.payload, ctx.signal)
      await Promise.race([aborted(ctx), end.promise])
    },
    { timeoutMs: 300, retryStrategy: later },
  )
  const longer = await bugle.put('q', 'longer', { timeoutMs: 3_600_000 })
  await bugle.put('q', 'the consumer’s')
  await bugle.put('q', 'shorter', { timeoutMs: 50 })
  await db.sql.unsafe(`insert into ${db.s}.job (queue, payload, timeout_ms) values ('q', '"by SQL"', 50)`)
  const told = [await timeouts.next(), await timeouts.next(), await timeouts.next()]
  expect(told.map(({ timeoutMs }) => timeoutMs)).toEqual([50, 50, 300])
  expect(signals.get('longer')?.aborted).toBe(false)
  end.resolve()
  await consumer.idle()
  expect((await db.jobs()).map(({ id }) => id)).not.toContain(longer)
  expect(await db.jobs()).toHaveLength(3)
})

test('G4 a job has its own timeoutMs where the consumer has none', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  await bugle.consume(
    'q',
    async (_job, ctx) => {
      throw await aborted(ctx)
    },
    { retryStrategy: false },
  )
  await bugle.put('q', 1, { timeoutMs: 50 })
  expect((await failed.next()).error).toMatchObject({ code: 'TIMEOUT' })
})

/** Computes for so long, and lets nothing else happen meanwhile. */
function block(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until; );
}

const blocking: Record<string, (job: unknown, context: { readonly signal: AbortSignal }) => unknown> = {
  'does not wait for anything': () => block(80),
  'waits for something at its end': async () => {
    await nextTurn()
    block(80)
  },
  'holds its signal, and returns a result': (_job, { signal }) => {
    block(80)
    return signal.aborted
  },
  throws: () => {
    block(80)
    throw new Error('its own words')
  },
}
for (const [how, handler] of Object.entries(blocking)) {
  test(`G4 a handler that blocks the event loop past its timeoutMs has failed with TIMEOUT, also if it ${how}`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    const timeouts = db.collect(bugle, 'job:timeout')
    const retrying = db.collect(bugle, 'job:retrying')
    const consumer = await bugle.consume('q', handler, { timeoutMs: 30, retryStrategy: later })
    const id = await bugle.put('q', 1)
    expect((await retrying.next()).error).toMatchObject({ code: 'TIMEOUT' })
    expect(timeouts.all).toMatchObject([{ id, timeoutMs: 30 }])
    expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
    expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 0 })
    expect(consumer.stats()).toMatchObject({ timeouts: 1, retried: 1 })
  })
}

test('G4 a run that has timed out holds its slot until its handler returns, and is told as stuck', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const stuck = db.collect(bugle, 'job:stuck')
  const retrying = db.collect(bugle, 'job:retrying')
  const end = gate()
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'q',
    async (job) => {
      seen.push(job.payload)
      if (job.payload === 'slow') await end.promise
    },
    { concurrency: 1, timeoutMs: 50, retryStrategy: later },
  )
  const id = await bugle.put('q', 'slow')
  await timeouts.next()
  const next = await bugle.put('q', 'next')
  const told = await stuck.next()
  expect(told).toMatchObject({ id, reason: 'TIMEOUT', ageMs: expect.any(Number) })
  expect(consumer.activeJobs).toBe(1)
  expect(seen).toEqual(['slow'])
  expect(await db.jobs()).toMatchObject([
    { id, state: 'running', attempt: 1 },
    { id: next, state: 'ready', attempt: 0 },
  ])
  end.resolve()
  // The handler has never read its signal, and the timeout counts all the same.
  expect((await retrying.next()).error).toMatchObject({ code: 'TIMEOUT' })
  await consumer.idle()
  expect(seen).toEqual(['slow', 'next'])
  expect(timeouts.all).toHaveLength(1)
  expect(stuck.all).toHaveLength(1)
})

const afterTimeout: Record<string, () => unknown> = {
  'returns a result': () => ({ done: true }),
  'throws nothing at all': () => {
    throw undefined
  },
}
for (const [how, end] of Object.entries(afterTimeout)) {
  test(`G4 a run that has timed out is a failure with the code TIMEOUT, also if its handler ${how}`, async ({ db }) => {
    const bugle = db.bugle()
    const retrying = db.collect(bugle, 'job:retrying')
    const others = [db.collect(bugle, 'job:acked'), db.collect(bugle, 'job:failed'), db.collect(bugle, 'job:released')]
    const consumer = await bugle.consume(
      'q',
      async (_job, ctx) => {
        await aborted(ctx)
        return end()
      },
      { timeoutMs: 50, retryStrategy: later },
    )
    await bugle.put('q', 1)
    const { error, retryAt } = await retrying.next()
    expect(error).toMatchObject({ name: 'BugleError', code: 'TIMEOUT' })
    expect(retryAt.getTime()).toBeGreaterThan(Date.now() + 3_000_000)
    for (const { all } of others) expect(all).toEqual([])
    expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
    expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 0, interrupted: 0 })
  })
}

const heardAfterTimeout = {
  reject: { end: () => reject('no'), event: 'job:failed', row: { state: 'failed', attempt: 1 } },
  release: { end: () => release({ delayMs: 60_000 }), event: 'job:released', row: { state: 'scheduled', attempt: 0 } },
  partial: {
    end: () => partial({ step: 1 }, { delayMs: 60_000 }),
    event: 'job:partial',
    row: { state: 'scheduled', attempt: 1 },
  },
  retry: {
    end: () => retry({ delayMs: 60_000, reason: 'its own' }),
    event: 'job:retrying',
    row: { state: 'scheduled', attempt: 1, last_error: { message: 'its own' } },
  },
} as const
for (const [name, { end, event, row }] of Object.entries(heardAfterTimeout)) {
  test(`G4 a handler that answers its timeout with ${name} is heard`, async ({ db }) => {
    const bugle = db.bugle()
    const ended = db.collect(bugle, event)
    const consumer = await bugle.consume(
      'q',
      async (_job, ctx) => {
        await aborted(ctx)
        return end()
      },
      { timeoutMs: 50 },
    )
    await bugle.put('q', 1)
    await ended.next()
    expect(await db.jobs()).toMatchObject([row])
    await consumer.stop()
  })
}

test('G4 an ack that was committed in the handler’s own transaction before the timeout wins', async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const failures = [db.collect(bugle, 'job:failed'), db.collect(bugle, 'job:retrying')]
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      await db.sql.begin((tx) => ctx.ack(tx))
      // The handler returns well past its time. Its signal may be aborted by then, or not.
      await new Promise((resolve) => setTimeout(resolve, 700))
    },
    { timeoutMs: 300 },
  )
  const id = await bugle.put('q', 1)
  expect(await acked.next()).toMatchObject({ id })
  for (const { all } of failures) expect(all).toEqual([])
  expect(await db.jobs()).toEqual([])
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

test('G4 an ack that was rolled back, and then the timeout: a failure', async ({ db }) => {
  const bugle = db.bugle()
  const retrying = db.collect(bugle, 'job:retrying')
  await bugle.consume(
    'q',
    async (_job, ctx) => {
      await db.sql
        .begin(async (tx) => {
          await ctx.ack(tx)
          throw new Error('rolled back')
        })
        .catch(() => {})
      await aborted(ctx)
    },
    { timeoutMs: 300, retryStrategy: later },
  )
  await bugle.put('q', 1)
  expect((await retrying.next()).error).toMatchObject({ code: 'TIMEOUT' })
  expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
})

test('G4 the first reason stands: a stop after a timeout changes neither the signal’s reason nor the outcome', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const end = gate()
  const reason = signal<BugleError>()
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      await aborted(ctx)
      await end.promise
      reason.resolve(ctx.signal.reason)
      throw ctx.signal.reason
    },
    { timeoutMs: 50, retryStrategy: later },
  )
  await bugle.put('q', 1)
  await timeouts.next()
  const stopped = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  await fence(db)
  end.resolve()
  expect(await stopped).toMatchObject({ completed: 0, failed: 0, interrupted: 0 })
  expect((await reason.promise).code).toBe('TIMEOUT')
  expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
})

test('G4 a timeoutMs that is no whole number of milliseconds from 1 up is refused', async ({ db }) => {
  const bugle = db.bugle()
  for (const timeoutMs of [0, -1, 1.5, Number.NaN, Infinity, '50']) {
    await expect(bugle.put('q', 1, { timeoutMs: timeoutMs as number })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    await expect(bugle.consume('q', () => {}, { timeoutMs: timeoutMs as number })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  }
  expect(await db.jobs()).toEqual([])
})
