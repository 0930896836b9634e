import { expect } from 'vitest'
import type { BugleOptions, ConsumeOptions } from '../../../src/index.js'
import { countIn, untilRunning } from '../../support/counts.js'
import { startCrashProcess } from '../../support/crash-process.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { archivedRows, fullRows } from '../../support/rows.js'
import { countUp, onceEach, payloads, sorted } from '../../support/runs.js'
import { fence } from '../../support/stopping.js'

const quick = { rescueAfterMs: 1_000, hungAfterMs: 300_000 } as const satisfies BugleOptions

/** Starts a consumer: two jobs run and wait for the gate, twenty are held. */
async function holdTwenty(db: TestDatabase, blocked: Promise<void>, options: ConsumeOptions = {}) {
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', payloads.slice(0, 30))
  const runs = new Map<string, number>()
  const consumer = await bugle.consume(
    'q',
    async ({ id }) => {
      countUp(runs, id)
      await blocked
    },
    { concurrency: 2, prefetch: 20, ...options },
  )
  await untilRunning(db, 22)
  return { bugle, ids, runs, consumer }
}

function statesOf(rows: readonly { state: string; attempt: number; crashes: number }[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { state, attempt, crashes } of rows) {
    const what = `${state}, attempt ${attempt}, crashes ${crashes}`
    counts[what] = (counts[what] ?? 0) + 1
  }
  return counts
}

test('at a stop held jobs are given back at once, attempts too; those that run go on to their end', async ({
  db,
  gate,
}) => {
  const blocked = gate()
  const { ids, runs, consumer } = await holdTwenty(db, blocked.promise)
  const stopped = consumer.stop()
  await untilRunning(db, 2)
  expect(statesOf(await fullRows(db))).toEqual({
    'running, attempt 1, crashes 0': 2,
    'ready, attempt 0, crashes 0': 28,
  })
  blocked.resolve()
  expect(await stopped).toEqual({ completed: 2, failed: 0, interrupted: 0, released: 20, abandoned: [] })
  expect(sorted(runs)).toEqual(onceEach(ids.slice(0, 2)))
  expect(statesOf(await fullRows(db))).toEqual({ 'ready, attempt 0, crashes 0': 28 })
})

test('at a pause held jobs are given back, attempts too; after the resume all run once', async ({ db, gate }) => {
  const blocked = gate()
  const { ids, runs, consumer } = await holdTwenty(db, blocked.promise)
  await consumer.pause()
  await untilRunning(db, 2)
  expect(statesOf(await fullRows(db))).toEqual({
    'running, attempt 1, crashes 0': 2,
    'ready, attempt 0, crashes 0': 28,
  })
  expect(runs.size).toBe(2)
  consumer.resume()
  blocked.resolve()
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect(await db.jobs()).toEqual([])
})

test('a pause while held jobs run and a claim is on its way: what has ended is gone from the table, the rest given ' +
  'back', {
  timeout: 30_000,
}, async ({ db }) => {
  // More than may be held when the last pause comes.
  const jobs = 1_000
  // Slow statements: most of the time a claim is on its way.
  await db.sql.unsafe(`
    create function ${db.s}.hold_up() returns trigger language plpgsql as $$
    begin
      perform pg_sleep(0.03);
      return null;
    end
    $$;
    create trigger zz_hold_up after update on ${db.s}.job for each statement execute function ${db.s}.hold_up()`)
  const bugle = db.bugle()
  for (let round = 0; round < 5; round += 1) {
    let ended = 0
    let handlerMs = 0.2
    const atPause = 100 + round * 60
    const reached = signal()
    await bugle.putMany('q', payloads.slice(0, jobs))
    const consumer = await bugle.consume(
      'q',
      () => {
        for (const until = performance.now() + handlerMs; performance.now() < until; );
        ended += 1
        if (ended === atPause) reached.resolve()
      },
      { concurrency: 1, prefetch: 500 },
    )
    await reached.promise
    await consumer.pause()
    const paused = ended
    await untilRunning(db, 0)
    expect([ended, await countIn(db, 'ready')]).toEqual([paused, jobs - paused])
    handlerMs = 0
    consumer.resume()
    await consumer.idle()
    await consumer.stop()
    expect(await db.jobs()).toEqual([])
  }
})

test('held jobs of a process that is killed are rescued, and run elsewhere', async ({ db }) => {
  const survivor = db.bugle(quick)
  const rescued = db.collect(survivor, 'worker:rescued')
  await survivor.consume('other', () => {})
  const dying = await startCrashProcess(db, { options: quick, concurrency: 2, prefetch: 20 })
  const ids = await survivor.putMany('q', Array(30).fill({ does: 'hold' }))
  await dying.ran(2)
  await untilRunning(db, 22)
  await dying.kill('SIGKILL')
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: dying.workerId, jobs: 22 })
  const runs = new Map<string, number>()
  const consumer = await survivor.consume('q', ({ id }) => countUp(runs, id), { keep: 'all' })
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect(await db.jobs()).toEqual([])
  expect(statesOf((await archivedRows(db)).map((row) => ({ ...row, state: 'archived' })))).toEqual({
    'archived, attempt 2, crashes 1': 22,
    'archived, attempt 1, crashes 0': 8,
  })
})

for (const prefetch of ['earned', 20] as const) {
  test(`a job that kills its process takes held jobs down with it once, and no more (prefetch: ${prefetch})`, async ({
    db,
  }) => {
    const options = { ...quick, maxCrashes: 3 }
    const rescuer = db.bugle(options)
    const rescued = db.collect(rescuer, 'worker:rescued')
    await rescuer.consume('other', () => {})
    const first = await startCrashProcess(db, { options, concurrency: 1, prefetch, dies: true })
    const [deadly] = await rescuer.putMany('q', [{ does: 'die' }, ...Array(30).fill(null)])
    await first.ended
    await rescued.next()
    const after: number[] = []
    for (let crash = 2; crash <= 3; crash += 1) {
      const next = await startCrashProcess(db, { options, concurrency: 1, prefetch, dies: true })
      await next.ended
      after.push((await rescued.next()).jobs)
    }
    // From the second crash on the deadly job goes down alone.
    expect(after).toEqual([1, 1])
    const rows = await fullRows(db)
    expect(rows.find(({ id }) => id === deadly)).toMatchObject({ state: 'failed', crashes: 3 })
    const innocent = rows.filter(({ id }) => id !== deadly)
    expect(Math.max(0, ...innocent.map(({ crashes }) => crashes))).toBeLessThanOrEqual(1)
    expect(innocent.every(({ state }) => state === 'ready')).toBe(true)
    const consumer = await rescuer.consume('q', () => {}, { concurrency: 1, prefetch })
    await consumer.idle()
    expect((await db.jobs()).map(({ id }) => id)).toEqual([deadly])
  })
}

test('jobs that a process has died under are not held: one runs, and the others are not claimed', async ({
  db,
  gate,
}) => {
  const blocked = gate()
  const bugle = db.bugle()
  await bugle.putMany('q', payloads.slice(0, 30))
  await db.sql.unsafe(`update ${db.s}.job set crashes = 1`)
  const consumer = await bugle.consume('q', () => blocked.promise, { concurrency: 2, prefetch: 20 })
  await untilRunning(db, 1)
  await fence(db)
  expect(statesOf(await fullRows(db))).toEqual({
    'running, attempt 1, crashes 1': 1,
    'ready, attempt 0, crashes 1': 29,
  })
  blocked.resolve()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('a held job that is cancelled does not begin: failed, cause cancelled', async ({ db, gate }) => {
  const blocked = gate()
  const { bugle, ids, runs, consumer } = await holdTwenty(db, blocked.promise)
  const failed = db.collect(bugle, 'job:failed')
  const cancelled = ids[10] ?? ''
  expect(await bugle.cancel(cancelled)).toBe('requested')
  await fence(db)
  blocked.resolve()
  expect(await failed.next()).toMatchObject({ id: cancelled, cause: 'cancelled' })
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids.filter((id) => id !== cancelled)))
  expect(await db.jobs()).toMatchObject([{ id: cancelled, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test(
  'a held job that is cancelled, and goes back before it has begun, is failed: told, counted, and handed to ' +
    'onFailed',
  async ({ db, gate }) => {
    const blocked = gate()
    const calls: string[] = []
    const { bugle, ids, consumer } = await holdTwenty(db, blocked.promise, {
      onFailed: ({ id }) => void calls.push(id),
    })
    const failed = db.collect(bugle, 'job:failed')
    const cancelled = ids[10] ?? ''
    expect(await bugle.cancel(cancelled)).toBe('requested')
    const stopped = consumer.stop()
    await untilRunning(db, 2)
    blocked.resolve()
    expect(await stopped).toEqual({ completed: 2, failed: 1, interrupted: 0, released: 19, abandoned: [] })
    expect(failed.all).toMatchObject([{ id: cancelled, cause: 'cancelled' }])
    expect(calls).toEqual([cancelled])
  },
)
