import { expect } from 'vitest'
import { type JobContext, reject, retry } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/running-job.js'
import { startStopProcess } from '../../support/stop-process.js'
import {
  marginMs,
  nothing,
  takeOver,
  timed,
  untilNoSession,
  untilSeenAgain,
  untilState,
  workerRows,
} from '../../support/stopping.js'
import { until } from '../../support/until.js'

test(
  'E4 a handler that goes on past the deadline: the stop is in time and names it, and its late ack counts if ' +
    'nobody has taken it over',
  async ({ db, runningJob }) => {
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    const { consumer, id, end } = await runningJob({ bugle })
    const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 50, abortMs: 50 }))
    expect(tookMs).toBeLessThan(100 + marginMs)
    expect(report).toEqual({ ...nothing, abandoned: [{ id, ageMs: expect.any(Number) }] })
    expect(report.abandoned[0]?.ageMs).toBeGreaterThanOrEqual(99)
    expect(await consumer.stopped).toEqual(report)
    // The job keeps its lease.
    expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 1 }])
    end.resolve()
    await acked.next()
    expect(await db.jobs()).toEqual([])
  },
)

test('E4 the late ack of a handler that was abandoned is refused if its job was taken over', async ({
  db,
  runningJob,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const stale = db.collect(bugle, 'job:stale')
  const { consumer, id, end } = await runningJob({ bugle })
  expect((await consumer.stop({ graceMs: 0, abortMs: 0 })).abandoned).toMatchObject([{ id }])
  await takeOver(db, id)
  end.resolve()
  expect(await stale.next()).toMatchObject({ queue: 'q', id, lease: expect.any(String) })
  expect(acked.all).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 2, worker_id: '5', lease: '123456789' }])
})

test('E4 after a stop that abandoned a job its queue can be consumed again, while the old handler goes on', async ({
  db,
  runningJob,
}) => {
  const { bugle, consumer: first, end } = await runningJob({ payload: 'old' })
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

test('E4 close keeps an abandoned handler’s lease: its worker is seen alive until it ends, then it is settled', async ({
  db,
  runningJob,
}) => {
  const { bugle, id, end } = await runningJob({ bugle: db.bugle({ rescueAfterMs: 900 }) })
  const { tookMs } = await timed(() => bugle.close({ graceMs: 0, abortMs: 100 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  const { workerId } = bugle
  expect(await workerRows(db)).toMatchObject([{ id: workerId }])
  // Another instance looks on, for longer than a rescue takes.
  const other = db.bugle({ rescueAfterMs: 900 })
  await other.consume('q', () => expect.unreachable())
  for (let beats = 0; beats < 4; beats += 1) await untilSeenAgain(db, workerId)
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 1, worker_id: workerId }])
  // Only the presence of the closed instance is left: it has no listener and no pool.
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
  runningJob,
}) => {
  const { bugle, id, end } = await runningJob({
    handler: async (_job, _ctx, untilEnd) => {
      await untilEnd
      throw new Error('late')
    },
  })
  await bugle.close({ graceMs: 0, abortMs: 0 })
  end.resolve()
  await untilState(db, id, 'ready')
  expect(await db.jobs()).toMatchObject([{ id, attempt: 0, worker_id: null }])
  await until(async () => (await workerRows(db)).length === 0)
})

test('E4 after the close the late ack of an abandoned handler is refused if its job was taken over', async ({
  db,
  runningJob,
}) => {
  const bugle = db.bugle()
  const stale = db.collect(bugle, 'job:stale')
  const { id, end } = await runningJob({ bugle })
  await bugle.close({ graceMs: 0, abortMs: 0 })
  await takeOver(db, id)
  end.resolve()
  await stale.next()
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', attempt: 2, worker_id: '5', lease: '123456789' }])
  await until(async () => (await workerRows(db)).length === 0)
  await untilNoSession(db)
})

test('E4 a stop that abandoned a job, and then close: its lease is kept as well', async ({ db, runningJob }) => {
  const { bugle, consumer, id, end } = await runningJob({ bugle: db.bugle({ rescueAfterMs: 900 }) })
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
  test(`E4 after the close an abandoned handler that ${what} is settled as ever`, async ({ db, runningJob }) => {
    const { bugle, end: go } = await runningJob({
      handler: async (_job, ctx, untilEnd) => {
        await untilEnd
        return end(db, ctx)
      },
      consume: { keep: 'all' },
    })
    await bugle.close({ graceMs: 0, abortMs: 0 })
    go.resolve()
    await until(async () => (await workerRows(db)).length === 0)
    expect(await db.jobs()).toMatchObject(rows)
    expect(await db.jobs()).toHaveLength(rows.length)
    expect(await db.sql.unsafe(`select from ${db.s}.archive`)).toHaveLength(archived)
    await untilNoSession(db)
  })
}

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
