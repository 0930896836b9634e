import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, onTestFinished } from 'vitest'
import { type ConsumeOptions, type Job, partial, release, retry } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { fullRows } from '../../support/rows.js'
import { untilAsleep, untilSoundAsleep, watchNotifications } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

// Sweeps are off in this file. What is due in more than a minute is looked for every half minute: a test that ends before
// the first look, after 27 s, was not helped by one.
const beforeALook = { timeout: 20_000 } as const

const hasPsql = spawnSync('psql', ['--version']).error === undefined

/** Whether a job that runs was claimed at its time or later, by the database's clock. */
async function isOnTime(db: TestDatabase, { id }: Job): Promise<boolean> {
  const [row] = await db.sql.unsafe<{ on_time: boolean }[]>(
    `select claimed_at >= run_at as on_time from ${db.s}.job where id = $1`,
    [id],
  )
  return row?.on_time ?? false
}

/** Scheduled rows of which nobody is told, as by a replica or with triggers off. */
async function scheduleSilently(db: TestDatabase, queue: string, count: number, inMs: number): Promise<void> {
  await db.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx.unsafe(
      `insert into ${db.s}.job (queue, payload, state, run_at)
       select $1, to_jsonb(n), 'scheduled', clock_timestamp() + $2 * interval '1 ms' from generate_series(1, $3) as n`,
      [queue, inMs, count],
    )
  })
}

/** Counts promotions from now on, also those that find nothing to make ready. */
async function countPromotions(db: TestDatabase): Promise<() => Promise<number>> {
  await db.sql.unsafe(`
    create table ${db.s}.promotion (at timestamptz);
    create function ${db.s}.count_promotion() returns trigger language plpgsql as $$
    begin
      if current_query() like '%bugle promote%' then
        insert into ${db.s}.promotion values (now());
      end if;
      return null;
    end
    $$;
    create trigger zz_count after update of state on ${db.s}.job
    for each statement execute function ${db.s}.count_promotion()`)
  return async () => {
    const [row] = await db.sql.unsafe<{ count: number }[]>(`select count(*)::int as count from ${db.s}.promotion`)
    return row?.count ?? 0
  }
}

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
    { retryStrategy: { retries: 1, delaysMs: 100 } },
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
      await bugle.put('q', 'due after the commit', { tx, delayMs: 400 })
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

test(
  'B8 more jobs are due than there are slots: another process that sleeps is woken for them',
  beforeALook,
  async ({ db, gate }) => {
    const sweeps = debugLines('bugle:sweep')
    const blocked = gate()
    const seen = { first: 0, second: 0 }
    const enough = signal()
    const second = await db.bugle().consume('q', () => {
      seen.second += 1
      if (seen.second === 3) enough.resolve()
    })
    // It knows of nothing that is scheduled, and nobody tells it: only a job made ready can wake it.
    await untilSoundAsleep(db, second)
    const notified = await watchNotifications(db)
    await scheduleSilently(db, 'q', 5, 300)
    const first = await db.bugle().consume(
      'q',
      async () => {
        seen.first += 1
        await blocked.promise
      },
      { concurrency: 2 },
    )
    await enough.promise
    await second.idle()
    // Made ready in one statement, so one notification.
    expect(await notified()).toEqual(['q'])
    blocked.resolve()
    await first.idle()
    // Who is faster gets more of them; the first has slots for two.
    expect(seen.first + seen.second).toBe(5)
    expect(await db.jobs()).toEqual([])
    expect(sweeps).toEqual([])
  },
)

for (const concurrency of [1, 10]) {
  test(
    `B8 a due job of which one process of two knows, with ${concurrency} slots: it is made ready once, and runs once, in time`,
    beforeALook,
    async ({ db }) => {
      const dueLines = debugLines('bugle:due')
      const runs: unknown[] = []
      const ran = signal()
      const handler = async (job: Job): Promise<void> => {
        runs.push([job.id, job.attempt, await isOnTime(db, job)])
        ran.resolve()
      }
      const sleeper = await db.bugle().consume('q', handler)
      const consumer = await db.bugle().consume('q', handler, { concurrency })
      await untilSoundAsleep(db, sleeper, consumer)
      const notified = await watchNotifications(db)
      await scheduleSilently(db, 'q', 1, 250)
      const [due] = await fullRows(db)
      // Made to look, and so one of them knows; and sleeps until it is due.
      await consumer.idle()
      await ran.promise
      await Promise.all([sleeper.idle(), consumer.idle()])
      // A stop waits for a promotion in flight.
      await Promise.all([sleeper.stop(), consumer.stop()])
      expect(runs).toEqual([[due?.id, 1, true]])
      // Both sleep when it is made ready: who is faster runs it.
      expect(await notified()).toEqual(['q'])
      expect(dueLines).toEqual([expect.stringContaining('1 due jobs are ready')])
      expect(await db.jobs()).toEqual([])
    },
  )
}

test(
  'B8 two processes wait for the same job: it is made ready once, by a few statements, and runs once, in time',
  beforeALook,
  async ({ db }) => {
    const dueLines = debugLines('bugle:due')
    const promotions = await countPromotions(db)
    const runs: unknown[] = []
    const ran = signal()
    const consumers = await Promise.all(
      [db.bugle(), db.bugle()].map((bugle) =>
        bugle.consume(
          'q',
          async (job) => {
            runs.push([job.id, job.attempt, await isOnTime(db, job)])
            ran.resolve()
          },
          { concurrency: 1 },
        ),
      ),
    )
    await untilSoundAsleep(db, ...consumers)
    const notified = await watchNotifications(db)
    const id = await db.bugle().put('q', null, { delayMs: 250 })
    await ran.promise
    await Promise.all(consumers.map((consumer) => consumer.idle()))
    await Promise.all(consumers.map((consumer) => consumer.stop()))
    expect(runs).toEqual([[id, 1, true]])
    // That of the put, so that both could set their timers; and that of the promotion.
    expect(await notified()).toEqual(['q', 'q'])
    expect(dueLines).toEqual([expect.stringContaining('1 due jobs are ready')])
    // Each has a timer for it; and looks once more where it was early, or found the row locked.
    expect(await promotions()).toBeLessThanOrEqual(6)
    expect(await db.jobs()).toEqual([])
  },
)

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

/** Due jobs that a consumer cannot take: what is put, and what it is told to leave. */
const untaken: Record<string, { put: (db: TestDatabase) => Promise<unknown>; options: ConsumeOptions }> = {
  'of a kind that nobody here handles': {
    put: (db) => db.bugle().putMany('q', [1, 2, 3], { kind: 'other', delayMs: 50 }),
    options: {},
  },
  'without a kind, where only kinds are handled': {
    put: (db) => db.bugle().putMany('q', [1, 2, 3], { delayMs: 50 }),
    options: {},
  },
  'with a flag that is left to others': {
    put: (db) => db.bugle().putMany('q', [1, 2, 3], { kind: 'own', flags: ['gpu'], delayMs: 50 }),
    options: { withoutFlags: ['gpu'] },
  },
  'that somebody holds locked': {
    put: async (db) => {
      await db.bugle().put('q', 'locked', { kind: 'other', delayMs: 50 })
      const stranger = db.connect()
      await stranger.unsafe(`begin; select from ${db.s}.job for update`)
    },
    options: {},
  },
}

for (const [what, { put, options }] of Object.entries(untaken)) {
  test(`B8 due jobs ${what} do not make a consumer spin`, beforeALook, async ({ db }) => {
    const { hostname, port } = new URL(db.connectionString)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => proxy.close())
    const through = Object.assign(new URL(db.connectionString), { port: String(proxy.port) })
    const bugle = db.bugle({ connectionString: through.href })
    const seen: unknown[] = []
    const fence = signal()
    const own = (job: Job): void => {
      seen.push(job.payload)
      fence.resolve()
    }
    const consumer = await bugle.consume('q', { own }, options)
    await untilSoundAsleep(db, consumer)
    await put(db)
    await untilDue(db)
    const before = proxy.sent
    // Time goes by until this one is due; its consumer has nothing else to do meanwhile.
    await db.bugle().put('q', 'fence', { kind: 'own', delayMs: 700 })
    await fence.promise
    await bugle.close()
    // Claims, looks at the locked row at ever longer intervals, the steps into sleep, and the end.
    expect(proxy.sent - before).toBeLessThan(60)
    expect(seen).toEqual(['fence'])
  })
}

test('B8 a due job that somebody holds locked runs when it is let go', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  const ran = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => ran.resolve(job.payload))
  await untilSoundAsleep(db, consumer)
  const id = await bugle.put('q', 'locked', { delayMs: 200 })
  const stranger = db.connect()
  await stranger.unsafe(`begin; select from ${db.s}.job where id = ${id} for share`)
  await untilDue(db)
  await consumer.idle()
  await stranger.unsafe('rollback')
  expect(await ran.promise).toBe('locked')
  expect(sweeps).toEqual([])
})

test(
  'B8 a due job that somebody holds locked is not asked for with every claim of a busy consumer',
  beforeALook,
  async ({ db }) => {
    const promotions = await countPromotions(db)
    const bugle = db.bugle()
    const due = await bugle.put('q', 'due', { delayMs: 10 })
    const stranger = db.connect()
    await stranger.unsafe(`begin; select from ${db.s}.job where id = ${due} for update`)
    await untilDue(db)
    const acked = db.collect(bugle, 'job:acked')
    const consumer = await bugle.consume('q', () => {}, { concurrency: 1 })
    // It knows of that one before it has anything else to do.
    await consumer.idle()
    await bugle.putMany('q', Array(500).fill('backlog'))
    for (let n = 0; n < 500; n += 1) await acked.next()
    // At ever longer intervals, up to a second.
    expect(await promotions()).toBeLessThan(50)
    await stranger.unsafe('rollback')
    expect((await acked.next()).id).toBe(due)
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
  },
)

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

test('B8 a run_at moved by SQL to an earlier time, past or soon, wakes the consumer', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', async (job) => void seen.push([job.payload, await isOnTime(db, job)]))
  const ids = await bugle.putMany('q', ['past', 'soon', 'the next one'], { delayMs: 50_000 })
  const moments = [`now() - interval '1 hour'`, `clock_timestamp() + interval '80 ms'`]
  for (const [index, moment] of moments.entries()) {
    await untilSoundAsleep(db, consumer)
    await db.sql.unsafe(`update ${db.s}.job set run_at = ${moment} where id = $1`, [ids[index] ?? ''])
    expect(await acked.next()).toMatchObject({ id: ids[index] })
  }
  expect(seen).toEqual([
    ['past', true],
    ['soon', true],
  ])
  expect(await fullRows(db)).toMatchObject([{ id: ids[2], state: 'scheduled', attempt: 0 }])
  expect(sweeps).toEqual([])
})

test('B8 a run_at moved by SQL to a later time: the job waits for that', beforeALook, async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', async (job) => void seen.push([job.payload, await isOnTime(db, job)]))
  await untilSoundAsleep(db, consumer)
  await bugle.putMany('q', ['moved', 'marker'], (payload) => ({ delayMs: payload === 'moved' ? 100 : 200 }))
  await db.sql.unsafe(`update ${db.s}.job set run_at = run_at + interval '300 ms' where payload = '"moved"'`)
  await acked.next()
  await acked.next()
  expect(seen.sort()).toEqual([
    ['marker', true],
    ['moved', true],
  ])
})

test('B8 a ready row moved by SQL into the future is scheduled, and runs at its time', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  await bugle.putMany('q', ['moved', 'moved far'])
  await db.sql.unsafe(`update ${db.s}.job set run_at = clock_timestamp() + interval '300 ms' where payload = '"moved"'`)
  await db.sql.unsafe(`update ${db.s}.job set run_at = 'tomorrow' where payload = '"moved far"'`)
  expect((await fullRows(db)).map(({ state }) => state)).toEqual(['scheduled', 'scheduled'])
  const ran = signal<unknown>()
  const consumer = await bugle.consume('q', async (job) => ran.resolve([job.payload, await isOnTime(db, job)]))
  expect(await ran.promise).toEqual(['moved', true])
  await consumer.idle()
  expect(await fullRows(db)).toMatchObject([{ payload: 'moved far', state: 'scheduled', attempt: 0 }])
  expect(sweeps).toEqual([])
})

const broken = (): never => {
  throw new Error('broken')
}

/** How a run ends in one process, for another that sleeps to go on with: at once, and after a while. */
const backToQueue: Record<string, (delayMs: number) => unknown> = {
  'a throw': broken,
  'retry()': (delayMs) => retry({ delayMs }),
  'release()': (delayMs) => release({ delayMs }),
  'partial()': (delayMs) => partial('half', { delayMs }),
}

for (const [what, end] of Object.entries(backToQueue)) {
  for (const delayMs of [0, 150]) {
    const when = delayMs === 0 ? 'at once' : `after ${delayMs} ms`
    test(
      `B9 ${what} in a process that stops wakes another that sleeps, which runs the job ${when}`,
      beforeALook,
      async ({ db, gate }) => {
        const sweeps = debugLines('bugle:sweep')
        const first = db.bugle()
        const begun = signal()
        const blocked = gate()
        const stopping = await first.consume(
          'q',
          async () => {
            begun.resolve()
            await blocked.promise
            return end(delayMs)
          },
          { concurrency: 1, retryStrategy: { retries: 1, delaysMs: delayMs } },
        )
        const id = await first.put('q', null)
        await begun.promise
        const ran = signal<unknown>()
        const other = await db.bugle().consume('q', async (job) => {
          ran.resolve([job.id, job.attempt, job.progress, await isOnTime(db, job)])
        })
        // The first has no free slot, so this is the other one.
        await untilAsleep(db, 'q')
        const notified = await watchNotifications(db)
        const stopped = stopping.stop()
        blocked.resolve()
        await stopped
        const attempt = what === 'release()' ? 1 : 2
        expect(await ran.promise).toEqual([id, attempt, what === 'partial()' ? 'half' : null, true])
        await other.idle()
        // When it goes back; and if it waits, when it is made ready.
        expect(await notified()).toEqual(delayMs === 0 ? ['q'] : ['q', 'q'])
        expect(await db.jobs()).toEqual([])
        expect(sweeps).toEqual([])
      },
    )
  }
}

/** Waits until the nearest scheduled job is due, or none is scheduled any more: one look after the other. */
async function untilDue(db: TestDatabase): Promise<void> {
  await until(async () => {
    const [row] = await db.sql.unsafe<{ waits: boolean | null }[]>(
      `select min(run_at) > clock_timestamp() as waits from ${db.s}.job where state = 'scheduled'`,
    )
    return row?.waits !== true
  })
}
