import { expect, onTestFinished } from 'vitest'
import { sessionSettings } from '../../../src/database/session.js'
import { loadStatements } from '../../../src/database/statements.js'
import { type Bugle, type BugleStats, partial, type QueueStats, release, type WorkerStats } from '../../../src/index.js'
import { startCrashProcess } from '../../support/crash-process.js'
import type { TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { refusal } from '../../support/refusal.js'
import { untilAsleep, untilSoundAsleep } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

const exactly = (count: number) => ({ count, isExact: true })
const atLeast = (count: number) => ({ count, isExact: false })
const none = exactly(0)

function queueOf({ queues }: BugleStats, queue: string): QueueStats | undefined {
  return queues.find((one) => one.queue === queue)
}

function workerOf({ workers }: BugleStats, id: string): WorkerStats | undefined {
  return workers.find((one) => one.id === id)
}

/** The first stats that show what is waited for. */
function untilStats(look: () => Promise<BugleStats>, isSo: (stats: BugleStats) => boolean): Promise<BugleStats> {
  return until(async () => {
    const stats = await look()
    return isSo(stats) && stats
  })
}

/** Rows as they are, without triggers. */
async function insert(db: TestDatabase, columns: string, rows: string): Promise<void> {
  await db.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`insert into ${db.s}.job (${columns}) ${rows}`)
  })
}

async function insertWorker(db: TestDatabase, id: number, seenAgo: string, serves: object[] = []): Promise<void> {
  await db.sql.unsafe(
    `insert into ${db.s}.worker (id, name, host, pid, version, seen_at, rescue_after_ms, hung_after_ms, consumers)
     values ($1, 'stopped', 'elsewhere', 7, '0', now() - $2::interval, 5000, 300000, $3::text::jsonb)`,
    [id, seenAgo, JSON.stringify(serves)],
  )
}

const ready = `'ready', now(), null::bigint, null::timestamptz`

test('H1 nothing is there', async ({ db }) => {
  expect(await db.bugle().stats()).toEqual({ queues: [], areAllQueues: true, workers: [] })
})

test('H1 jobs of every state are counted, in queues that are known by one of them alone, or by a pause, or by a consumer', async ({
  db,
}) => {
  const bugle = db.bugle()
  await insert(
    db,
    'queue, state, run_at, worker_id, finished_at',
    `select 'mixed', ${ready} from generate_series(1, 5)
     union all select 'mixed', 'scheduled', now() + interval '1 h', null, null from generate_series(1, 4)
     union all select 'mixed', 'running', now(), 7, null from generate_series(1, 3)
     union all select 'mixed', 'failed', now(), null, now() from generate_series(1, 2)
     union all select 'a ready', ${ready}
     union all select 'a scheduled', 'scheduled', now() + interval '1 h', null, null
     union all select 'a running', 'running', now(), 8, null
     union all select 'a failed', 'failed', now(), null, now()`,
  )
  await bugle.pause('a paused')
  await bugle.pause('a resumed')
  await bugle.resume('a resumed')
  await insertWorker(db, 9, '0 s', [{ queue: 'a consumed', concurrency: 3, kinds: null, isPaused: false }])

  const { queues, areAllQueues } = await bugle.stats()
  const empty = { isPaused: false, ready: none, scheduled: none, running: none, failed: none, oldestReadyMs: null }
  const unserved = { workers: 0, slots: 0, here: null }
  const age = expect.any(Number)
  const one = exactly(1)
  expect(queues).toEqual([
    { queue: 'a consumed', ...empty, workers: 1, slots: 3, here: null },
    { queue: 'a failed', ...empty, ...unserved, failed: one },
    { queue: 'a paused', ...empty, ...unserved, isPaused: true },
    { queue: 'a ready', ...empty, ...unserved, ready: one, oldestReadyMs: age },
    { queue: 'a resumed', ...empty, ...unserved },
    { queue: 'a running', ...empty, ...unserved, running: one },
    { queue: 'a scheduled', ...empty, ...unserved, scheduled: one },
    {
      queue: 'mixed',
      ...empty,
      ...unserved,
      ready: exactly(5),
      scheduled: exactly(4),
      running: exactly(3),
      failed: exactly(2),
      oldestReadyMs: age,
    },
  ])
  expect(areAllQueues).toBe(true)
  // Without our settings, as through a pooler, the same is found.
  const plain = await db.bugle({ prepare: false }).stats()
  expect(plain.queues.map(({ queue }) => queue)).toEqual(queues.map(({ queue }) => queue))
  expect(queueOf(plain, 'mixed')).toMatchObject({ ready: exactly(5), failed: exactly(2), running: exactly(3) })
})

test('H1 of one queue: that one, whether or not it has anything, and the workers that consume it', async ({ db }) => {
  const bugle = db.bugle()
  await insert(
    db,
    'queue, state, run_at, worker_id, finished_at',
    `select 'a', ${ready} union all select 'b', ${ready}`,
  )
  await insertWorker(db, 1, '0 s', [{ queue: 'a', concurrency: 3, kinds: null, isPaused: false }])
  await insertWorker(db, 2, '0 s', [{ queue: 'b', concurrency: 4, kinds: null, isPaused: false }])
  expect(await bugle.stats('b')).toMatchObject({
    queues: [{ queue: 'b', ready: exactly(1), workers: 1, slots: 4 }],
    workers: [{ id: '2' }],
  })
  expect(await bugle.stats('it’s "c" \\ {}')).toMatchObject({
    queues: [{ queue: 'it’s "c" \\ {}', ready: none, oldestReadyMs: null, workers: 0 }],
    workers: [],
  })
  expect(await refusal(() => bugle.stats(''))).toMatchObject({ code: 'INVALID_QUEUE' })
  await bugle.close()
  expect(await refusal(() => bugle.stats())).toMatchObject({ code: 'CLOSED' })
  expect(await refusal(() => db.bugle({ schema: 'nowhere' }).stats())).toMatchObject({ code: 'NOT_MIGRATED' })
})

test('H1 counts are exact up to 10,000, and then at least so many; the failed ones of all queues together', async ({
  db,
}) => {
  const bugle = db.bugle()
  const columns = 'queue, state, run_at, worker_id, finished_at'
  const many = (number: number, rest: string) =>
    insert(db, columns, `select ${rest} from generate_series(1, ${number})`)
  await many(10_000, `'exact', ${ready}`)
  await many(10_001, `'more', ${ready}`)
  await many(10_000, `'exact', 'scheduled', now() + interval '1 h', null::bigint, null::timestamptz`)
  await many(10_001, `'more', 'scheduled', now() + interval '1 h', null::bigint, null::timestamptz`)
  await many(9_999, `'exact', 'running', now(), 7, null::timestamptz`)
  await many(1, `'more', 'running', now(), 7, null::timestamptz`)
  await many(9_000, `'exact', 'failed', now(), null::bigint, now()`)
  await many(1_000, `'more', 'failed', now(), null::bigint, now() - interval '1 day'`)

  expect((await bugle.stats()).queues).toMatchObject([
    {
      queue: 'exact',
      ready: exactly(10_000),
      scheduled: exactly(10_000),
      running: exactly(9_999),
      failed: exactly(9_000),
    },
    { queue: 'more', ready: atLeast(10_000), scheduled: atLeast(10_000), running: exactly(1), failed: exactly(1_000) },
  ])

  // One more of each, and nobody knows what lies beyond. The oldest failed job is the one that is not looked at.
  await many(1, `'exact', 'failed', now(), null::bigint, now()`)
  const { queues } = await bugle.stats()
  expect(queues).toMatchObject([
    { queue: 'exact', failed: atLeast(9_001) },
    { queue: 'more', failed: atLeast(1_000) },
  ])
  await many(2, `'exact', 'failed', now(), null::bigint, now()`)
  expect(queueOf(await bugle.stats(), 'more')?.failed).toEqual(atLeast(998))
  for (const { running } of queues) expect(running.isExact).toBe(true)
  await many(1, `'exact', 'running', now(), 8, null::timestamptz`)
  for (const { running } of (await bugle.stats()).queues) expect(running.isExact).toBe(false)
})

test('H1 many queues share what is counted of them; of one alone it is 10,000', async ({ db }) => {
  await insert(db, 'queue', `select 'q' || n from generate_series(1, 1000) as n`)
  await insert(db, 'queue', `select 'q1' from generate_series(1, 500)`)
  await insert(db, 'queue', `select 'q2' from generate_series(1, 499)`)
  const bugle = db.bugle()
  const all = await bugle.stats()
  expect(queueOf(all, 'q1')?.ready).toEqual(atLeast(500))
  expect(queueOf(all, 'q2')?.ready).toEqual(exactly(500))
  expect(queueOf(await bugle.stats('q1'), 'q1')?.ready).toEqual(exactly(501))
})

test('H1 the oldest ready job is seen behind a deep queue of a higher priority; also of the lowest of many', async ({
  db,
}) => {
  const bugle = db.bugle()
  const hourMs = 3_600_000
  await insert(db, 'queue, priority', `select 'deep', 5 from generate_series(1, 10050)`)
  expect(queueOf(await bugle.stats(), 'deep')?.oldestReadyMs).toBeLessThan(hourMs)
  await insert(db, 'queue, priority, run_at', `select 'deep', 3, now() - interval '2 h' from generate_series(1, 2)`)
  await insert(db, 'queue, priority', `select 'deep', 1`)
  const starving = queueOf(await bugle.stats(), 'deep')
  expect(starving?.oldestReadyMs).toBeGreaterThan(2 * hourMs)
  expect(starving?.oldestReadyMs).toBeLessThan(3 * hourMs)
  await insert(
    db,
    'queue, priority, run_at',
    `select 'deep', -n, now() - case when n = 300 then interval '5 h' else interval '0' end from generate_series(1, 300) as n`,
  )
  expect(queueOf(await bugle.stats(), 'deep')?.oldestReadyMs).toBeGreaterThan(5 * hourMs)
})

test('H1 more queues than are listed: the first thousand by name, and it says so', async ({ db }) => {
  await insert(db, 'queue', `select 'q' || to_char(n, 'FM0000') from generate_series(1, 1000) as n`)
  const bugle = db.bugle()
  expect(await bugle.stats()).toMatchObject({ areAllQueues: true, queues: { length: 1_000 } })
  await insert(
    db,
    'queue, state, run_at',
    `select 'q0500' || name, 'scheduled', now() + interval '1 h' from unnest('{b,c,d}'::text[]) as name`,
  )
  const { queues, areAllQueues } = await bugle.stats()
  expect(areAllQueues).toBe(false)
  expect(queues).toHaveLength(1_000)
  expect(queues.slice(500, 503).map(({ queue }) => queue)).toEqual(['q0500b', 'q0500c', 'q0500d'])
  expect(queues.at(-1)?.queue).toBe('q0997')
})

test('H1 several workers: what each consumes with how many slots, kinds and pauses; a change is seen without a heartbeat’s wait', async ({
  db,
}) => {
  // Nobody waits for the heartbeats of these: a minute and more between them.
  const slow = { rescueAfterMs: 300_000 }
  const [one, two] = [db.bugle({ ...slow, name: 'one' }), db.bugle({ ...slow, name: 'two' })]
  const emails = await one.consume('emails', () => {}, { concurrency: 3 })
  await one.consume('media', { thumb: () => {}, probe: () => {} }, { concurrency: 4 })
  await two.consume('emails', { letter: () => {} }, { concurrency: 5, unknownKinds: 'fail' })
  const look = () => two.stats()
  const consumersOf = (stats: BugleStats, bugle: Bugle) => workerOf(stats, bugle.workerId)?.consumers ?? []

  const served = { kinds: null, isPaused: false }
  const all = await untilStats(
    look,
    (stats) => consumersOf(stats, one).length === 2 && consumersOf(stats, two).length === 1,
  )
  expect(workerOf(all, one.workerId)).toEqual({
    id: one.workerId,
    name: 'one',
    host: expect.any(String),
    pid: process.pid,
    version: expect.any(String),
    startedAt: expect.any(Date),
    seenMsAgo: expect.any(Number),
    state: 'live',
    running: none,
    consumers: [
      { queue: 'emails', concurrency: 3, ...served },
      { queue: 'media', concurrency: 4, ...served, kinds: ['thumb', 'probe'] },
    ],
  })
  expect(consumersOf(all, two)).toEqual([{ queue: 'emails', concurrency: 5, ...served }])
  expect(queueOf(all, 'emails')).toMatchObject({ workers: 2, slots: 8, isPaused: false, here: { concurrency: 5 } })
  expect(queueOf(all, 'media')).toMatchObject({ workers: 1, slots: 4, here: null })

  await emails.pause()
  const paused = await untilStats(look, (stats) => consumersOf(stats, one)[0]?.isPaused === true)
  expect(queueOf(paused, 'emails')).toMatchObject({ workers: 2, slots: 5, isPaused: false })
  emails.resume()
  await untilStats(look, (stats) => consumersOf(stats, one)[0]?.isPaused === false)
  await two.pause('emails')
  expect(queueOf(await look(), 'emails')).toMatchObject({ workers: 2, slots: 8, isPaused: true })

  await emails.stop()
  const left = await untilStats(look, (stats) => consumersOf(stats, one).length === 1)
  expect(queueOf(left, 'emails')).toMatchObject({ workers: 1, slots: 5 })
  await one.close()
  expect((await look()).workers.map(({ id }) => id)).toEqual([two.workerId])
})

test('H1 a consumer that is being stopped, its handler still running, serves no more', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 300_000 })
  const { promise: held, resolve: letGo } = gate()
  const begun = gate()
  await bugle.put('q', null)
  const consumer = await bugle.consume('q', () => {
    begun.resolve()
    return held
  })
  await begun.promise
  const serves = ({ workers: [worker] }: BugleStats) => worker?.consumers.length
  await untilStats(
    () => bugle.stats(),
    (stats) => serves(stats) === 1,
  )
  const stopped = consumer.stop({ graceMs: Number.POSITIVE_INFINITY })
  const stats = await untilStats(
    () => bugle.stats(),
    (now) => serves(now) === 0,
  )
  expect(stats.workers[0]?.running).toEqual(exactly(1))
  expect(queueOf(stats, 'q')).toMatchObject({ running: exactly(1), workers: 0, slots: 0, here: { active: 1 } })
  letGo()
  expect(await stopped).toMatchObject({ completed: 1 })
})

test('H1 a process that was killed with running jobs is dead, and its jobs run until somebody rescues them', async ({
  db,
}) => {
  const bugle = db.bugle()
  const process = await startCrashProcess(db, { options: { rescueAfterMs: 1_000 }, concurrency: 3 })
  await bugle.putMany(
    'q',
    Array.from({ length: 2 }, () => ({ does: 'hold' })),
  )
  await process.ran(2)
  const look = () => bugle.stats()
  const alive = await untilStats(look, ({ workers: [worker] }) => worker?.consumers.length === 1)
  expect(alive.workers).toMatchObject([
    { id: process.workerId, name: 'crash', pid: process.pid, state: 'live', running: exactly(2) },
  ])
  expect(queueOf(alive, 'q')).toMatchObject({ running: exactly(2), workers: 1, slots: 3 })

  await process.kill('SIGKILL')
  const dead = await untilStats(look, ({ workers: [worker] }) => worker?.state !== 'live')
  expect(dead.workers).toMatchObject([{ id: process.workerId, state: 'dead', running: exactly(2) }])
  expect(dead.workers[0]?.seenMsAgo).toBeGreaterThan(1_000)
  expect(queueOf(dead, 'q')).toMatchObject({ running: exactly(2), workers: 0, slots: 0 })

  const rescuer = db.bugle({ rescueAfterMs: 300 })
  await rescuer.consume('q', () => {})
  const rescued = await untilStats(look, (stats) => queueOf(stats, 'q')?.here === null && stats.workers.length === 1)
  expect(rescued.workers).toMatchObject([{ id: rescuer.workerId, state: 'live' }])
})

test('H1 a worker whose heartbeats have stopped: dead without its lock, live with it, and hung when that lasts', async ({
  db,
}) => {
  const bugle = db.bugle()
  await insertWorker(db, 1, '4 s')
  await insertWorker(db, 2, '6 s')
  await insertWorker(db, 3, '6 s')
  await insertWorker(db, 4, '301 s')
  const { presence_take } = loadStatements(db.schema)
  const holder = db.connect()
  for (const id of ['3', '4']) await holder.unsafe(presence_take, [id])
  const states = async () => (await bugle.stats()).workers.map(({ id, state }) => [id, state]).sort()
  // The first has less than a second left, on a machine that may stand still for one.
  expect(['live', 'dead']).toContain((await states())[0]?.[1])
  expect((await states()).slice(1)).toEqual([
    ['2', 'dead'],
    ['3', 'live'],
    ['4', 'hung'],
  ])
  await db.sql.unsafe(`update ${db.s}.worker set seen_at = now() + interval '1 h' where id = 1`)
  expect((await states())[0]).toEqual(['1', 'live'])
})

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

test('health: a process that can work, consuming or not, paused or not', async ({ db }) => {
  const bugle = db.bugle()
  const up = { isUp: true, roundTripMs: expect.any(Number) }
  const healthy = { isHealthy: true, problems: [], database: up }
  expect(await bugle.health()).toEqual({ ...healthy, listener: null, isPresent: null, consumers: [] })
  const consumer = await bugle.consume('q', () => {})
  const state = { queue: 'q', isRunning: true, isPaused: false, active: 0 }
  expect(await bugle.health()).toEqual({ ...healthy, listener: 'live', isPresent: true, consumers: [state] })
  await consumer.pause()
  expect(await bugle.health()).toMatchObject({ ...healthy, consumers: [{ ...state, isPaused: true }] })
  await bugle.close()
  expect(await refusal(() => bugle.health())).toMatchObject({ code: 'CLOSED' })
})

test('health: a database that is not there, not ours, or silent is a problem and no exception', async ({ db }) => {
  const nowhere = db.bugle({ connectionString: 'postgres://localhost:1/none' })
  const begun = nowhere.consume('q', () => {})
  begun.catch(() => {})
  expect(await nowhere.health()).toMatchObject({
    isHealthy: false,
    problems: [expect.stringContaining('cannot reach'), expect.stringContaining('has not begun yet')],
    database: { isUp: false, roundTripMs: null },
    isPresent: null,
    consumers: [{ queue: 'q', isRunning: false, isPaused: false, active: 0 }],
  })
  expect(await db.bugle({ schema: 'nowhere' }).health()).toMatchObject({
    isHealthy: false,
    problems: [expect.stringContaining('has no tables')],
    database: { isUp: true, roundTripMs: null },
  })
  const url = new URL(db.connectionString)
  const proxy = await startProxy({ host: url.hostname, port: Number(url.port) })
  onTestFinished(proxy.close)
  url.host = `127.0.0.1:${proxy.port}`
  const bugle = db.bugle({ connectionString: url.href })
  expect(await bugle.health()).toMatchObject({ isHealthy: true })
  proxy.freeze()
  expect(await bugle.health()).toMatchObject({
    isHealthy: false,
    problems: ['the database: no answer within 2000 ms'],
    database: { isUp: false, roundTripMs: null },
  })
  await proxy.heal()
})

test('health: one that is being closed is not ready any more', async ({ db, gate }) => {
  const bugle = db.bugle()
  const { promise: held, resolve: letGo } = gate()
  const begun = gate()
  await bugle.put('q', null)
  await bugle.consume('q', () => {
    begun.resolve()
    return held
  })
  await begun.promise
  const closed = bugle.close({ graceMs: 30_000 })
  expect(await bugle.health()).toMatchObject({
    isHealthy: false,
    problems: ['the instance is being closed'],
    consumers: [{ queue: 'q', isRunning: false, active: 1 }],
  })
  letGo()
  await closed
})

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Rows Removed by Filter'?: number
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly Plans?: readonly PlanNode[]
}

test('the plan of stats: index scans that end at the bound, also where it was made on an empty table', async ({
  db,
}) => {
  const session = db.connect()
  const [server] = await session<{ version: number }[]>`select current_setting('server_version_num')::int as version`
  for (const [name, value] of Object.entries(sessionSettings(server?.version ?? 0, 60_000))) {
    await session`select set_config(${name}, ${value}, false)`
  }
  const { stats_queues, stats_workers } = loadStatements(db.schema)
  for (const table of ['job', 'worker', 'queue']) await db.sql.unsafe(`vacuum analyze ${db.s}.${table}`)
  await session.unsafe(`prepare queues as ${stats_queues}`)
  await session.unsafe(`prepare workers as ${stats_workers}`)
  const asked = [
    `queues (null, 1000, 1000, '[]', 500000)`,
    `queues ('q1', 1000, 1000, '["q1"]', 500000)`,
    'workers (1000)',
  ]
  for (const one of asked) await session.unsafe(`execute ${one}`)

  for (const id of [1, 2, 3]) await insertWorker(db, id, '0 s')
  // Ten times and more what is counted of each.
  await insert(
    db,
    'queue, state, priority, run_at, worker_id, finished_at',
    `select 'q' || n % 3, state, 0,
       now() + case when state = 'scheduled' then interval '1 h' else interval '0' end,
       case when state = 'running' then n % 7 end,
       case when state = 'failed' then now() end
     from unnest('{ready,scheduled,running,failed}'::text[]) as state, generate_series(1, 30000) as n
     -- One queue behind the other: what is read to find the next one shows.
     order by state, n % 3`,
  )
  for (const [which, isTidy] of asked.flatMap((one) => [[one, false] as const, [one, true] as const])) {
    if (isTidy) await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
    const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: PlanNode }] }[]>(
      `explain (format json, analyze, buffers) execute ${which}`,
    )
    const top = row?.['QUERY PLAN'][0].Plan
    const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)]
    for (const node of top === undefined ? [] : flatten(top)) {
      const shown = `${which}: ${node['Node Type']} ${node['Relation Name'] ?? ''} ${node['Index Name'] ?? ''}`
      // Workers are read in whole.
      if (node['Relation Name'] !== 'worker') expect.soft(node['Node Type'], shown).not.toMatch(/Seq Scan|Bitmap/)
      if (node['Relation Name'] !== 'job') continue
      expect.soft(node['Actual Rows'], shown).toBeLessThanOrEqual(1_001)
      expect.soft(node['Rows Removed by Filter'] ?? 0, shown).toBe(0)
      expect.soft(node['Index Name'], shown).toMatch(/^job_(ready|due|running|failed)$/)
    }
    const pages = (top?.['Shared Hit Blocks'] ?? Number.NaN) + (top?.['Shared Read Blocks'] ?? 0)
    console.log(`stats: ${which}, ${isTidy ? 'vacuumed' : 'as it is'}: ${pages} pages`)
    // Nine thousand rows at most, of 120,000; they lie side by side (measured: 400).
    expect.soft(pages, which).toBeLessThan(2_000)
  }
})
