import { expect } from 'vitest'
import { reject, type StopReport } from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { interruptible, test } from '../../support/running-job.js'
import {
  aborted,
  holdClaims,
  marginMs,
  nothing,
  timed,
  untilNoSession,
  untilState,
  withoutHeartbeat,
  workerRows,
} from '../../support/stopping.js'
import { until } from '../../support/until.js'

test(
  'E7 an idle consumer stops at once, also with the longest times, and takes its worker row and its sessions with ' +
    'it',
  async ({ db }) => {
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
  },
)

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

test('E7 the abort of the option `signal` stops the consumer with its own times', async ({ db, runningJob }) => {
  const bugle = db.bugle()
  const stopping = db.collect(bugle, 'consumer:stopping')
  const controller = new AbortController()
  const { consumer } = await runningJob({
    bugle,
    handler: interruptible,
    consume: { signal: controller.signal, graceMs: 10, abortMs: 30_000 },
  })
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

test('E7 idle() and pause() that wait resolve at the stop', async ({ db, runningJob }) => {
  const { bugle, consumer } = await runningJob()
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
    { concurrency: 8, retryStrategy: { maxAttempts: 2, delaysMs: 3_600_000 } },
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
  // The late end of a handler does not change the report.
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
