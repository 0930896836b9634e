import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { partial, release, retry } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { beforeALook, isOnTime, untilDue } from '../../support/due-jobs.js'
import { fullRows } from '../../support/rows.js'
import { untilAsleep, untilSoundAsleep, watchNotifications } from '../../support/sleepers.js'

const hasPsql = spawnSync('psql', ['--version']).error === undefined

/** Ways to put a job that is due in so many milliseconds. */
const schedulers: Record<string, (db: TestDatabase, payload: string, inMs: number) => Promise<unknown>> = {
  'put with delayMs': (db, payload, delayMs) => db.bugle().put('q', payload, { delayMs }),
  'put with runAt': (db, payload, inMs) => db.bugle().put('q', payload, { runAt: new Date(Date.now() + inMs) }),
  'putMany with delayMs': (db, payload, delayMs) => db.bugle().putMany('q', [payload], { delayMs }),
  'select bugle.put(…, run_at => …)': (db, payload, inMs) =>
    db.sql.unsafe(`select ${db.s}.put('q', to_jsonb($1::text), run_at => clock_timestamp() + $2 * interval '1 ms')`, [
      payload,
      inMs,
    ]),
  'an INSERT': (db, payload, inMs) =>
    db.sql.unsafe(
      `insert into ${db.s}.job (queue, payload, run_at)
       values ('q', to_jsonb($1::text), clock_timestamp() + $2 * interval '1 ms')`,
      [payload, inMs],
    ),
  ...(hasPsql && {
    psql: (db, payload, inMs) =>
      promisify(execFile)('psql', [
        '--no-psqlrc',
        '--set=ON_ERROR_STOP=1',
        `--command=select ${db.s}.put('q', '"${payload}"', run_at => clock_timestamp() + interval '${inMs} ms')`,
        db.connectionString,
      ]),
  }),
}
const ways = Object.entries(schedulers)

test(
  'B8 delayed jobs run at their time and not before, however they were put; no sweep does it',
  beforeALook,
  async ({ db }) => {
    const sweeps = debugLines('bugle:sweep')
    const bugle = db.bugle()
    const seen: unknown[] = []
    const all = signal()
    const consumer = await bugle.consume('q', async (job) => {
      seen.push([job.payload, job.attempt, await isOnTime(db, job)])
      if (seen.length === ways.length) all.resolve()
    })
    await untilSoundAsleep(db, consumer)
    // Put in the other order than they are due: each is nearer than the one that is waited for.
    for (const [index, [way, put]] of ways.entries()) await put(db, way, 2_500 - index * 80)
    expect((await fullRows(db)).map(({ state }) => state)).toEqual(ways.map(() => 'scheduled'))
    await all.promise
    await consumer.idle()
    expect(seen.sort()).toEqual(ways.map(([way]) => [way, 1, true]).sort())
    expect(await db.jobs()).toEqual([])
    expect(sweeps).toEqual([])
  },
)

for (const [way, put] of ways) {
  test(
    `B8 a job put by ${way} that is due earlier than the one that is waited for is not late`,
    beforeALook,
    async ({ db }) => {
      const sweeps = debugLines('bugle:sweep')
      const bugle = db.bugle()
      const ran = signal<unknown>()
      const consumer = await bugle.consume('q', async (job) => ran.resolve([job.payload, await isOnTime(db, job)]))
      const later = await bugle.put('q', 'later', { delayMs: 50_000 })
      await untilSoundAsleep(db, consumer)
      await put(db, 'sooner', 100)
      expect(await ran.promise).toEqual(['sooner', true])
      await consumer.idle()
      expect(await fullRows(db)).toMatchObject([{ id: later, state: 'scheduled', attempt: 0 }])
      expect(sweeps).toEqual([])
    },
  )
}

test('B8 retried, released and continued jobs run at their time and not before', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const ends: Record<string, () => unknown> = {
    throws: () => {
      throw new Error('broken')
    },
    retry: () => retry({ delayMs: 110 }),
    release: () => release({ delayMs: 120 }),
    partial: () => partial(1, { delayMs: 130 }),
  }
  const names = Object.keys(ends)
  const again = new Set<unknown>()
  const consumer = await bugle.consume(
    'q',
    async (job) => {
      seen.push([job.payload, await isOnTime(db, job)])
      if (again.has(job.payload)) return
      again.add(job.payload)
      return ends[job.payload as string]?.()
    },
    { retryStrategy: { maxAttempts: 2, delaysMs: 100 } },
  )
  await bugle.putMany('q', names)
  for (const _ of names) await acked.next()
  await consumer.idle()
  expect(seen.slice(0, 4).sort()).toEqual(names.toSorted().map((name) => [name, true]))
  expect(seen.slice(4).sort()).toEqual(names.toSorted().map((name) => [name, true]))
  expect(await db.jobs()).toEqual([])
  expect(sweeps).toEqual([])
})

test(
  'B8 a job scheduled in a transaction that commits later, before it is due or after',
  beforeALook,
  async ({ db }) => {
    const sweeps = debugLines('bugle:sweep')
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    const seen: unknown[] = []
    const consumer = await bugle.consume('q', async (job) => void seen.push([job.payload, await isOnTime(db, job)]))
    await untilSoundAsleep(db, consumer)
    await db.sql.begin(async (tx) => {
      await bugle.put('q', 'due after the commit', { tx, delayMs: 1_500 })
      await bugle.put('q', 'due before the commit', { tx, delayMs: 10 })
      // When this has run, that is due. The consumer has looked and slept again, and knows of neither.
      await bugle.put('q', 'marker', { delayMs: 100 })
      await acked.next()
      await consumer.idle()
      await untilAsleep(db, 'q')
      seen.push('commit')
    })
    await acked.next()
    await acked.next()
    expect(seen).toEqual([['marker', true], 'commit', ['due before the commit', true], ['due after the commit', true]])
    expect(sweeps).toEqual([])
  },
)

test('B8 a job scheduled before any consumer exists runs at its time', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  await bugle.put('q', 'before', { delayMs: 300 })
  await bugle.put('q', 'far', { delayMs: 3_600_000 })
  const ran = signal<unknown>()
  const consumer = await bugle.consume('q', async (job) => ran.resolve([job.payload, await isOnTime(db, job)]))
  await consumer.idle()
  expect(await ran.promise).toEqual(['before', true])
  await consumer.idle()
  expect(await fullRows(db)).toMatchObject([{ payload: 'far', state: 'scheduled' }])
  expect(sweeps).toEqual([])
})

test('B8 jobs that became due while the consumer was stopped run at its start', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consume = () => bugle.consume('q', (job) => void seen.push(job.payload), { concurrency: 1 })
  const first = await consume()
  await bugle.putMany('q', [1, 2, 3], { delayMs: 30 })
  await first.stop()
  await untilDue(db)
  expect(seen).toEqual([])
  const second = await consume()
  await second.idle()
  expect(seen.toSorted()).toEqual([1, 2, 3])
  expect(await db.jobs()).toEqual([])
  expect(sweeps).toEqual([])
})

test('B8 of jobs that are due together the highest priority runs first', beforeALook, async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  await bugle.putMany('q', [0, 1, 2, 3, 4, 5], (payload) => ({ priority: Number(payload), delayMs: 30 }))
  await untilDue(db)
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload), { concurrency: 1 })
  await consumer.idle()
  expect(seen).toEqual([5, 4, 3, 2, 1, 0])
})

test('B8 a job due in more than a minute notifies nobody, one that is due sooner does', beforeALook, async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('q', () => {})
  const notified = await watchNotifications(db)
  await untilSoundAsleep(db, consumer)
  const far = await bugle.put('q', 'far', { delayMs: 90_000 })
  await bugle.putMany('q', [1, 2, 3], { delayMs: 3_600_000 })
  await db.sql.unsafe(`update ${db.s}.job set run_at = run_at + interval '1 hour', priority = 5`)
  expect(await notified()).toEqual([])
  await bugle.put('q', 'soon', { delayMs: 50_000 })
  expect(await notified()).toEqual(['q'])
  await untilSoundAsleep(db, consumer)
  await db.sql.unsafe(`update ${db.s}.job set run_at = now() + interval '40 s' where id = $1`, [far])
  expect(await notified()).toEqual(['q', 'q'])
})

test('B8 a due job of high priority gets in while there is a backlog without an end', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  let runs = 0
  let readyThen: number | null = null
  const consumer = await bugle.consume(
    'q',
    async ({ payload }) => {
      if (payload === 'due') {
        readyThen = (await fullRows(db)).filter(({ state }) => state === 'ready').length
        return
      }
      runs += 1
      // Each job puts the next one, so that claims are always full, and say nothing of what is due.
      if (readyThen === null && runs < 100_000) await bugle.put('q', 'backlog')
    },
    { concurrency: 2 },
  )
  await bugle.putMany('q', Array(20).fill('backlog'))
  await bugle.put('q', 'due', { delayMs: 50, priority: 1 })
  await consumer.idle()
  expect(readyThen).toBeGreaterThan(0)
  expect(runs).toBeLessThan(100_000)
  expect(await db.jobs()).toEqual([])
  expect(sweeps).toEqual([])
})

test(
  'B8 with listen: false delayed and retried jobs run at their time, found by sweeps',
  beforeALook,
  async ({ db }) => {
    const bugle = db.bugle({ listen: false })
    const acked = db.collect(bugle, 'job:acked')
    const seen: unknown[] = []
    const consumer = await bugle.consume('q', async (job) => {
      seen.push([job.attempt, await isOnTime(db, job)])
      if (job.attempt === 1) return retry({ delayMs: 50 })
    })
    await consumer.idle()
    await db.bugle().put('q', null, { delayMs: 50 })
    await acked.next()
    expect(seen).toEqual([
      [1, true],
      [2, true],
    ])
  },
)

test('B8 a runAt in the past runs at once, in its place', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const moments = [new Date(0), new Date(-8_640_000_000_000_000), new Date(Date.now() - 1), new Date('1600-01-01')]
  for (const [index, runAt] of moments.entries()) await bugle.put('q', index, { runAt })
  await bugle.putMany('q', [4, 5], { delayMs: 0 })
  await db.sql.unsafe(`select ${db.s}.put('q', '6', run_at => '4713-01-01 BC')`)
  expect((await fullRows(db)).map(({ state }) => state)).toEqual(Array(7).fill('ready'))
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload), { concurrency: 1 })
  await consumer.idle()
  expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6])
})
