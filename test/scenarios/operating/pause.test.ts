import { expect } from 'vitest'
import { type Bugle, retry } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { test } from '../../support/running-job.js'
import { untilAsleep } from '../../support/sleepers.js'
import { fence, holdClaims, isPending, timed, untilState, withoutHeartbeat } from '../../support/stopping.js'
import { until } from '../../support/until.js'

/** Both ways to pause a queue in this instance, each with its way to resume. */
const ways: Record<
  string,
  (
    bugle: Bugle,
    consumer: { pause(): Promise<void>; resume(): void },
  ) => { pause(): Promise<unknown>; resume(): unknown }
> = {
  'consumer.pause()': (_bugle, consumer) => consumer,
  'bugle.pause()': (bugle) => ({ pause: () => bugle.pause('q'), resume: () => bugle.resume('q') }),
}

test('pause: consumer.pause() lets running jobs go on and claims no more; resume() runs what came meanwhile', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const acked = db.collect(bugle, 'job:acked')
  const end = gate()
  const begun = signal()
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', async (job) => {
    seen.push(job.payload)
    if (job.payload !== 'running') return
    begun.resolve()
    await end.promise
  })
  expect(consumer.isPaused).toBe(false)
  await bugle.put('q', 'running')
  await begun.promise
  await consumer.pause()
  expect(consumer.isPaused).toBe(true)
  expect(consumer.isRunning).toBe(true)
  await bugle.putMany('q', ['meanwhile 1', 'meanwhile 2'])
  await fence(db)
  expect(seen).toEqual(['running'])
  end.resolve()
  await acked.next()
  // The slot is free, and no job starts.
  await fence(db)
  expect(seen).toEqual(['running'])
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
  consumer.resume()
  expect(consumer.isPaused).toBe(false)
  await consumer.idle()
  expect(seen).toEqual(['running', 'meanwhile 1', 'meanwhile 2'])
  expect(await db.jobs()).toEqual([])
})

test('pause: a paused queue has no effect on the other queues of the instance', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const ran = signal()
  const consumer = await bugle.consume('a', () => expect.unreachable())
  await bugle.consume('b', () => ran.resolve())
  await consumer.pause()
  await bugle.pause('a')
  await bugle.put('a', 1)
  await bugle.put('b', 1)
  await ran.promise
})

test('pause: consumer.pause() twice, resume() twice, and after the stop, are harmless', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve())
  consumer.resume()
  await Promise.all([consumer.pause(), consumer.pause()])
  await bugle.put('q', 1)
  consumer.resume()
  consumer.resume()
  await ran.promise
  const pausing = consumer.pause()
  // The pause is taken back before it is carried out: its promise resolves all the same.
  consumer.resume()
  await pausing
  expect(consumer.isPaused).toBe(false)
  await bugle.put('q', 2)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  await consumer.stop()
  await consumer.pause()
  consumer.resume()
  expect(consumer.isRunning).toBe(false)
})

test('pause: consumer.pause() resolves after the claim in flight, whose jobs run', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const acked = db.collect(bugle, 'job:acked')
  const consumer = await bugle.consume('q', () => {})
  const claims = await holdClaims(db)
  await bugle.put('q', 1)
  await claims.untilHeld()
  const pausing = consumer.pause()
  await fenceByRows(db)
  expect(await isPending(pausing)).toBe(true)
  await claims.open()
  await pausing
  await acked.next()
  expect(await db.jobs()).toEqual([])
})

test('pause: stopping a consumer that is paused is as any stop, also with a job that runs', async ({
  db,
  runningJob,
}) => {
  const { bugle, consumer, end } = await runningJob({ bugle: db.bugle(withoutHeartbeat) })
  await consumer.pause()
  await bugle.put('q', 'left')
  const stopped = consumer.stop({ graceMs: 60_000 })
  await fence(db)
  expect(await isPending(stopped)).toBe(true)
  end.resolve()
  expect(await stopped).toMatchObject({ completed: 1, released: 0, interrupted: 0 })
  expect(await db.jobs()).toMatchObject([{ payload: 'left', state: 'ready', attempt: 0 }])
  await db.sql.unsafe(`delete from ${db.s}.job`)

  for (const way of Object.values(ways)) {
    const idle = await bugle.consume('q', () => expect.unreachable())
    await way(bugle, idle).pause()
    const { tookMs } = await timed(() => idle.stop())
    expect(tookMs).toBeLessThan(1_000)
  }
})

for (const [way, pauser] of Object.entries(ways)) {
  test(`pause: idle() while paused by ${way} waits until what is there has run`, async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const seen: unknown[] = []
    const consumer = await bugle.consume('q', (job) => void seen.push(job.payload))
    const { pause, resume } = pauser(bugle, consumer)
    await pause()
    await bugle.put('q', 1)
    const idle = consumer.idle()
    await fence(db)
    expect(await isPending(idle)).toBe(true)
    resume()
    await idle
    expect(seen).toEqual([1])
    expect(await db.jobs()).toEqual([])
  })

  test(`pause: jobs that become due, or are retried, while paused by ${way} run at the resume`, async ({
    db,
    runningJob,
  }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const retrying = db.collect(bugle, 'job:retrying')
    const seen: unknown[] = []
    const { consumer, end } = await runningJob({
      bugle,
      handler: async (job, _ctx, untilEnd) => {
        seen.push(job.payload)
        if (job.payload !== 'retried' || job.attempt > 1) return
        await untilEnd
        return retry({ delayMs: 0 })
      },
      payload: 'retried',
    })
    const { pause, resume } = pauser(bugle, consumer)
    await pause()
    const due = await bugle.put('q', 'due', { delayMs: 50 })
    await bugle.put('q', 'due later', { delayMs: 1_000 })
    end.resolve()
    await retrying.next()
    // The job is overdue, and a job of another queue has run since: this one would have run.
    await untilDue(db, due)
    await fence(db)
    expect(seen).toEqual(['retried'])
    resume()
    while (seen.length < 4) await consumer.idle()
    expect(seen.slice(0, 3).sort()).toEqual(['due', 'retried', 'retried'])
    expect(seen[3]).toBe('due later')
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
  })

  test(`pause: once paused by ${way} no claim begins: a hammer of puts, pauses and resumes`, async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    let started = 0
    const handler = (): void => {
      started += 1
    }
    const consumer = await bugle.consume('q', handler, { keep: 'all', concurrency: 3 })
    const { pause, resume } = pauser(bugle, consumer)
    let isOver = false
    let put = 0
    const putting = (async () => {
      while (!isOver) {
        await bugle.putMany('q', [1, 2, 3])
        put += 3
      }
    })()
    const spans: { from: string; to: string }[] = []
    const clock = async (): Promise<string> =>
      (await db.sql<{ now: string }[]>`select clock_timestamp()::text as now`)[0]?.now ?? ''
    for (let round = 0; round < 10; round += 1) {
      const atLeast = started + 10
      await until(() => started >= atLeast)
      await pause()
      const from = await clock()
      await fenceByRows(db)
      const startedThen = started
      await fence(db)
      if (way === 'consumer.pause()') expect(started).toBe(startedThen)
      spans.push({ from, to: await clock() })
      await resume()
    }
    isOver = true
    await putting
    await consumer.idle()
    expect(started).toBe(put)
    expect(await db.jobs()).toEqual([])
    for (const { from, to } of spans) {
      const rows = await db.sql.unsafe(
        // As texts: the driver would cut a moment to milliseconds.
        `select claimed_at from ${db.s}.archive
         where claimed_at > $1::text::timestamptz and claimed_at < $2::text::timestamptz`,
        [from, to],
      )
      expect(rows).toEqual([])
    }
  })
}

test('pause: bugle.pause() and resume() tell whether that changed anything', async ({ db }) => {
  const bugle = db.bugle()
  expect(await bugle.resume('q')).toBe(false)
  expect(await bugle.pause('q')).toBe(true)
  expect(await bugle.pause('q')).toBe(false)
  expect(await db.bugle().pause('q')).toBe(false)
  expect(await db.bugle().resume('q')).toBe(true)
  expect(await bugle.resume('q')).toBe(false)
})

test('pause: a paused queue is paused for every instance, for consumers that start later, and after a restart', async ({
  db,
}) => {
  const first = db.bugle(withoutHeartbeat)
  const seen: unknown[] = []
  const handler = (job: { payload: unknown }): void => void seen.push(job.payload)
  const one = await first.consume('q', handler)
  const two = await db.bugle(withoutHeartbeat).consume('q', handler)
  await untilAsleep(db, 'q', 2)
  expect(await db.bugle().pause('q')).toBe(true)
  await first.put('q', 'while paused')
  await fence(db)
  // A further consumer starts now.
  const third = await db.bugle(withoutHeartbeat).consume('q', handler)
  await fence(db)
  expect(seen).toEqual([])
  expect(await db.jobs()).toMatchObject([{ state: 'ready', attempt: 0, worker_id: null }])

  // All consumers stop, and a new instance starts.
  await one.stop()
  await two.stop()
  await third.stop()
  await first.close()
  const again = db.bugle(withoutHeartbeat)
  const consumer = await again.consume('q', handler)
  await fence(db)
  expect(seen).toEqual([])
  await db.bugle().resume('q')
  await consumer.idle()
  expect(seen).toEqual(['while paused'])
})

test('pause: jobs that run when their queue is paused go on, and are settled', async ({ db, runningJob }) => {
  const { bugle, consumer, id, end } = await runningJob({
    bugle: db.bugle(withoutHeartbeat),
    handler: async (_job, ctx, untilEnd) => {
      const { signal: own } = ctx
      await untilEnd
      expect(own.aborted).toBe(false)
    },
  })
  await bugle.pause('q')
  await fence(db)
  end.resolve()
  await untilState(db, id, null)
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

test('pause: any queue name, and what is none is refused before anything is written', async ({ db }) => {
  const bugle = db.bugle()
  const names = ['MixedCase', 'a-b.c', `it's "q"; drop table job`, '🎺', 'x'.repeat(128)]
  for (const name of names) {
    expect(await bugle.pause(name)).toBe(true)
    const ran = signal()
    const consumer = await bugle.consume(name, () => ran.resolve())
    await bugle.put(name, null)
    expect(await db.jobs()).toMatchObject([{ queue: name, state: 'ready' }])
    expect(await bugle.resume(name)).toBe(true)
    await ran.promise
    await consumer.stop()
  }
  const rows = await db.sql.unsafe(`select count(*)::int as n from ${db.s}.queue`)
  for (const call of [bugle.pause, bugle.resume]) {
    for (const name of ['', 'x'.repeat(129), 'a\0b', '\ud800', 5, null, undefined]) {
      expect((await refusal(() => call(name as string))).code).toBe('INVALID_QUEUE')
    }
  }
  expect(await db.sql.unsafe(`select count(*)::int as n from ${db.s}.queue`)).toEqual(rows)
  await bugle.close()
  expect((await refusal(() => bugle.pause('q'))).code).toBe('CLOSED')
  expect((await refusal(() => bugle.resume('q'))).code).toBe('CLOSED')
})

test('pause: SQL refuses a name that no queue can have', async ({ db }) => {
  await expect(db.sql.unsafe(`select ${db.s}.pause('')`)).rejects.toMatchObject({ code: '23514' })
  await expect(db.sql.unsafe(`select ${db.s}.pause(repeat('x', 129))`)).rejects.toMatchObject({ code: '23514' })
  expect(await db.sql.unsafe(`select ${db.s}.resume('never paused') as changed`)).toEqual([{ changed: false }])
})

/** Some statements go to the server and back: the server has answered what this process sent before. */
async function fenceByRows(db: TestDatabase): Promise<void> {
  for (let n = 0; n < 5; n += 1) await db.jobs()
}

async function untilDue(db: TestDatabase, id: string): Promise<void> {
  const due = () =>
    db.sql.unsafe(`select from ${db.s}.job where id = $1 and run_at > clock_timestamp() - interval '100 ms'`, [id])
  await until(async () => (await due()).length === 0)
}
