import { expect } from 'vitest'
import { partial, release } from '../../../src/index.js'
import { test } from '../../support/gates.js'
import { untilAsleep, untilSoundAsleep } from '../../support/sleepers.js'

test('consumer.stats: how its runs ended', async ({ db }) => {
  const bugle = db.bugle()
  const timedOut = db.collect(bugle, 'job:timeout')
  await bugle.putMany('q', ['ack', 'ack', 'throw', 'retry', 'partial', 'release', 'slow'])
  await db.sql.unsafe(`update ${db.s}.job set crashes = 1 where payload = '"throw"'`)
  const consumer = await bugle.consume(
    'q',
    async ({ payload }, { signal }) => {
      switch (payload) {
        case 'throw':
          throw new Error('no')
        case 'retry':
          throw new Error('later')
        case 'partial':
          return partial(1, { delayMs: 3_600_000 })
        case 'release':
          return release({ delayMs: 3_600_000 })
        case 'slow':
          await new Promise((resolve) => signal.addEventListener('abort', resolve))
          throw signal.reason
      }
    },
    {
      concurrency: 7,
      retryStrategy: ({ payload }) => (payload === 'retry' ? { delayMs: 3_600_000 } : false),
      timeoutMs: 500,
    },
  )
  await timedOut.next()
  await consumer.idle()
  expect(consumer.stats()).toEqual({
    concurrency: 7,
    active: 0,
    completed: 2,
    failed: 2,
    retried: 1,
    deferred: 2,
    released: 0,
    interrupted: 0,
    stale: 0,
    timeouts: 1,
    rescued: 1,
    errors: 0,
    wakeUps: 0,
    sweepsThatFound: 0,
    perSecond: expect.any(Number),
    waitMs: expect.any(Object),
    runMs: expect.any(Object),
  })
  const { runMs, waitMs, perSecond } = consumer.stats()
  expect(runMs?.max).toBeGreaterThanOrEqual(499)
  expect(waitMs?.max).toBeGreaterThan(0)
  expect(perSecond).toBeGreaterThan(0)
  expect((await bugle.stats('q')).queues[0]?.here).toMatchObject({ completed: 2, failed: 2, concurrency: 7 })
  const report = await consumer.stop()
  expect(report).toMatchObject({ completed: 2, failed: 2, interrupted: 0, released: 0 })
})

test('consumer.stats: waitMs is what job:started says', async ({ db }) => {
  const bugle = db.bugle()
  const started = db.collect(bugle, 'job:started')
  await bugle.put('q', null)
  await db.sql.unsafe(`update ${db.s}.job set run_at = now() - interval '10 s', created_at = now() - interval '20 s'`)
  const consumer = await bugle.consume('q', () => {})
  await consumer.idle()
  const { waitMs } = await started.next()
  expect(consumer.stats().waitMs).toEqual({ p50: waitMs, p95: waitMs, p99: waitMs, max: waitMs })
  expect(waitMs).toBeGreaterThan(9_000)
})

test('consumer.stats: what was interrupted, never begun, or came too late', async ({ db, gate }) => {
  const bugle = db.bugle()
  const stale = db.collect(bugle, 'job:stale')
  const { promise: held, resolve: letGo } = gate()
  const begun = gate()
  await bugle.putMany('q', [1, 2, 3])
  const consumer = await bugle.consume(
    'q',
    async (_, { signal }) => {
      begun.resolve()
      await Promise.race([held, new Promise((resolve) => signal.addEventListener('abort', resolve))])
      signal.throwIfAborted()
    },
    { concurrency: 1, prefetch: 2 },
  )
  await begun.promise
  await db.sql.unsafe(`update ${db.s}.job set lease = lease + 1 where id = 1`)
  letGo()
  await stale.next()
  await consumer.idle()
  expect(consumer.stats()).toMatchObject({ stale: 1, completed: 2 })
  await consumer.stop()

  const again = gate()
  await bugle.putMany('r', [1, 2, 3])
  const stopped = await bugle.consume(
    'r',
    (_, { signal }) => {
      again.resolve()
      return new Promise((_resolve, fail) => signal.addEventListener('abort', () => fail(signal.reason)))
    },
    { concurrency: 1, prefetch: 2 },
  )
  await again.promise
  const report = await stopped.stop({ graceMs: 0 })
  expect(report).toMatchObject({ interrupted: 1, released: 2 })
  expect(stopped.stats()).toMatchObject({ interrupted: 1, released: 2, active: 0 })
})

test('consumer.stats: notifications that woke it, and sweeps that found what nobody had told', async ({ db, gate }) => {
  const told = db.bugle()
  const ran = db.collect(told, 'job:acked')
  const consumer = await told.consume('q', () => {})
  for (let n = 1; n <= 3; n += 1) {
    await untilSoundAsleep(db, consumer)
    await told.put('q', n)
    await ran.next()
    expect(consumer.stats().wakeUps).toBe(n)
  }
  expect(consumer.stats().sweepsThatFound).toBe(0)
  await consumer.stop()

  const deaf = db.bugle({ listen: false })
  const { promise: held, resolve: letGo } = gate()
  const swept = await deaf.consume('q', () => letGo())
  await swept.idle()
  await deaf.put('q', 4)
  await held
  expect(swept.stats()).toMatchObject({ wakeUps: 0, sweepsThatFound: expect.any(Number) })
  expect(swept.stats().sweepsThatFound).toBeGreaterThanOrEqual(1)
})

test('consumer.stats: claims that failed', async ({ db }) => {
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const consumer = await bugle.consume('q', () => {})
  await untilAsleep(db, 'q')
  await db.sql.unsafe(`alter table ${db.s}.job rename to away`)
  await db.kill(await db.backends('control'))
  await errors.next()
  expect(consumer.stats().errors).toBeGreaterThanOrEqual(1)
  await db.sql.unsafe(`alter table ${db.s}.away rename to job`)
})
