import { expect, onTestFinished } from 'vitest'
import type { BugleOptions, ConsumeOptions, Job } from '../../../src/index.js'
import { startCrashProcess } from '../../support/crash-process.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { archivedRows, fullRows } from '../../support/rows.js'
import { fence, untilState } from '../../support/stopping.js'
import { until } from '../../support/until.js'

const quick = { rescueAfterMs: 1_000, hungAfterMs: 300_000 } as const satisfies BugleOptions

async function countIn(db: TestDatabase, state: string): Promise<number> {
  const [row] = await db.sql.unsafe<{ count: number }[]>(
    `select count(*)::int as count from ${db.s}.job where state = $1`,
    [state],
  )
  return row?.count ?? 0
}

/** One look after the other; the test's own time-out ends it. */
async function untilRunning(db: TestDatabase, count: number): Promise<void> {
  await until(async () => (await countIn(db, 'running')) === count)
}

/** From now on the most rows that have been running at once: looked at in each statement that has claimed, or settled. */
async function watchRunning(db: TestDatabase): Promise<() => Promise<number>> {
  await db.sql.unsafe(`
    create table ${db.s}.seen_running (jobs int);
    create function ${db.s}.count_running() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.seen_running select count(*) from ${db.s}.job where state = 'running';
      return null;
    end
    $$;
    create trigger zz_count after update on ${db.s}.job for each statement execute function ${db.s}.count_running()`)
  return async () => {
    const [row] = await db.sql.unsafe<{ most: number }[]>(`select max(jobs) as most from ${db.s}.seen_running`)
    return row?.most ?? 0
  }
}

function countUp<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** What has run, by id, each once. */
function onceEach(ids: readonly string[]): Map<string, number> {
  return new Map(ids.toSorted().map((id) => [id, 1]))
}

function sorted(runs: Map<string, number>): Map<string, number> {
  return new Map([...runs].toSorted(([one], [other]) => (one < other ? -1 : 1)))
}

const many = 5_000
const payloads = Array.from({ length: many }, (_, index) => index)

test('with prefetch 0 no more jobs run, by their rows, than there are slots, however short handlers are', async ({
  db,
}) => {
  const most = await watchRunning(db)
  const bugle = db.bugle()
  const runs = new Map<string, number>()
  const ids = await bugle.putMany('q', payloads.slice(0, 500))
  const consumer = await bugle.consume('q', ({ id }) => countUp(runs, id), { concurrency: 3, prefetch: 0 })
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect(await most()).toBe(3)
  expect(await db.jobs()).toEqual([])
})

test('short handlers earn look-ahead: more is claimed than there are slots; every job runs once, and none is left', async ({
  db,
}) => {
  const most = await watchRunning(db)
  const bugle = db.bugle()
  const runs = new Map<string, number>()
  const ids = await bugle.putMany('q', payloads)
  const consumer = await bugle.consume('q', ({ id }) => countUp(runs, id), { concurrency: 3 })
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect(await most()).toBeGreaterThan(3)
  expect(await db.jobs()).toEqual([])
  expect(await consumer.stop()).toMatchObject({ completed: many, failed: 0, abandoned: [] })
})

test('handlers that do not end earn none: only as many jobs are claimed as there are slots', async ({ db, gate }) => {
  const blocked = gate()
  const bugle = db.bugle()
  await bugle.putMany('q', payloads.slice(0, 50))
  const consumer = await bugle.consume('q', () => blocked.promise, { concurrency: 5 })
  await untilRunning(db, 5)
  await fence(db)
  const rows = await fullRows(db)
  expect(rows.map(({ state }) => state)).toEqual([...Array(5).fill('running'), ...Array(45).fill('ready')])
  expect(rows.slice(5).every(({ attempt }) => attempt === 0)).toBe(true)
  expect(consumer.activeJobs).toBe(5)
})

test('handlers that turn slow: what was held goes back within moments, its attempt too, and another process runs it', async ({
  db,
  gate,
}) => {
  const blocked = gate()
  const bugle = db.bugle()
  const runs = new Map<string, number>()
  const attempts = new Set<number>()
  const ids = await bugle.putMany('q', payloads)
  let begun = 0
  const consumer = await bugle.consume(
    'q',
    async (job) => {
      countUp(runs, job.id)
      attempts.add(job.attempt)
      begun += 1
      if (begun > 1_000) await blocked.promise
    },
    { concurrency: 3 },
  )
  while (begun < 1_003) await new Promise((resolve) => setImmediate(resolve))
  const slowAt = performance.now()
  await untilRunning(db, 3)
  // 50 ms, on a machine of its own.
  expect(performance.now() - slowAt).toBeLessThan(5_000)
  const waiting = (await fullRows(db)).filter(({ state }) => state !== 'running')
  // Acks that were held while jobs were are gone too.
  expect(waiting).toHaveLength(many - 1_003)
  for (const row of waiting) expect(row).toMatchObject({ state: 'ready', attempt: 0, crashes: 0, worker_id: null })
  const other = await db.bugle().consume('q', (job) => {
    countUp(runs, job.id)
    attempts.add(job.attempt)
  })
  await other.idle()
  expect(await countIn(db, 'ready')).toBe(0)
  expect(begun).toBe(1_003)
  blocked.resolve()
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect([...attempts]).toEqual([1])
  expect(await db.jobs()).toEqual([])
  expect((await consumer.stop()).released).toBeGreaterThan(0)
})

/** Two jobs run and wait for the gate, twenty are held. */
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

test('a pause while held jobs run and a claim is on its way: what has ended is gone from the table, the rest given back', {
  timeout: 30_000,
}, async ({ db }) => {
  // Most of the time one is.
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
    await bugle.putMany('q', payloads.slice(0, 2_000))
    const consumer = await bugle.consume(
      'q',
      () => {
        for (const until = performance.now() + 0.2; performance.now() < until; );
        ended += 1
      },
      { concurrency: 1, prefetch: 500 },
    )
    while (ended < 100 + round * 60) await new Promise((resolve) => setImmediate(resolve))
    await consumer.pause()
    const paused = ended
    await untilRunning(db, 0)
    expect([ended, await countIn(db, 'ready')]).toEqual([paused, 2_000 - paused])
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
  test(`a job that kills its process takes those that are held down with it once, and no more (prefetch: ${prefetch})`, async ({
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
    // The deadly one alone.
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

test('jobs that a process has died under are not held: they begin, or go back', async ({ db, gate }) => {
  const blocked = gate()
  const bugle = db.bugle()
  await bugle.putMany('q', payloads.slice(0, 30))
  await db.sql.unsafe(`update ${db.s}.job set crashes = 1`)
  const consumer = await bugle.consume('q', () => blocked.promise, { concurrency: 2, prefetch: 20 })
  await untilRunning(db, 2)
  await fence(db)
  expect(statesOf(await fullRows(db))).toEqual({
    'running, attempt 1, crashes 1': 2,
    'ready, attempt 0, crashes 1': 28,
  })
  blocked.resolve()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('the row of a job that was acked is locked by somebody: others are claimed and acked; it is settled when it is let go', async ({
  db,
  gate,
}) => {
  const blocked = gate()
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const begun = signal()
  const ids = await bugle.putMany('q', payloads.slice(0, 10))
  const [locked = '', ...others] = ids
  const consumer = await bugle.consume(
    'q',
    async ({ id }) => {
      if (id !== locked) return
      begun.resolve()
      await blocked.promise
    },
    // It keeps its slot; its ack travels with a claim for the other one.
    { concurrency: 2, prefetch: 0 },
  )
  await begun.promise
  const stranger = db.connect()
  await stranger.unsafe(`begin; select from ${db.s}.job where id = ${locked} for update`)
  blocked.resolve()
  for (const _ of others) await acked.next()
  // Those that were in one statement with it go one by one.
  expect(new Set(acked.all.map(({ id }) => id))).toEqual(new Set(others))
  expect((await db.jobs()).map(({ id, state }) => [id, state])).toEqual([[locked, 'running']])
  await stranger.unsafe('rollback')
  expect((await acked.next()).id).toBe(locked)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

for (const isCommitted of [true, false]) {
  const what = isCommitted ? 'has committed, and its answer is lost' : 'is ended with its session'
  test(`a claim that took an ack along ${what}: the ack is settled alone, and what was claimed runs once`, async ({
    db,
    gate,
  }) => {
    const { hostname, port } = new URL(db.connectionString)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => proxy.close())
    const through = Object.assign(new URL(db.connectionString), { port: String(proxy.port) })
    // A delete waits for the test.
    await db.sql.unsafe(`
      create function ${db.s}.await_test() returns trigger language plpgsql as $$
      begin
        perform pg_advisory_xact_lock_shared(471147);
        return old;
      end
      $$;
      create trigger zz_await before delete on ${db.s}.job for each row execute function ${db.s}.await_test()`)
    const bugle = db.bugle({ ...quick, connectionString: through.href })
    const acked = db.collect(bugle, 'job:acked')
    const stale = db.collect(bugle, 'job:stale')
    const blocked = gate()
    const runs: unknown[] = []
    const begun = signal()
    const ids = await db.bugle().putMany('q', [1, 2])
    const consumer = await bugle.consume(
      'q',
      async (job) => {
        runs.push(job.payload)
        begun.resolve()
        await blocked.promise
      },
      { concurrency: 1, prefetch: 0 },
    )
    await begun.promise
    const holder = db.connect()
    await holder`select pg_advisory_lock(471147)`
    blocked.resolve()
    const waiters = async (): Promise<number[]> =>
      (await db.sql<{ pid: number }[]>`select pid from pg_locks where objid = 471147 and not granted`).map(
        ({ pid }) => pid,
      )
    let pids: number[] = []
    await until(async () => {
      pids = await waiters()
      return pids.length > 0
    })
    if (isCommitted) await proxy.refuse()
    else await db.kill(pids)
    await holder`select pg_advisory_unlock(471147)`
    if (isCommitted) {
      await until(async () => (await db.jobs()).length <= 1)
      await proxy.heal()
    }
    expect([(await acked.next()).id, (await acked.next()).id]).toEqual(ids)
    await consumer.idle()
    expect(runs).toEqual([1, 2])
    expect(stale.all).toEqual([])
    expect(await db.jobs()).toEqual([])
  })
}

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

test('a held job that is cancelled, and goes back before it has begun, is failed: told, counted, and handed to onFailed', async ({
  db,
  gate,
}) => {
  const blocked = gate()
  const calls: string[] = []
  const { bugle, ids, consumer } = await holdTwenty(db, blocked.promise, { onFailed: ({ id }) => void calls.push(id) })
  const failed = db.collect(bugle, 'job:failed')
  const cancelled = ids[10] ?? ''
  expect(await bugle.cancel(cancelled)).toBe('requested')
  const stopped = consumer.stop()
  await untilRunning(db, 2)
  blocked.resolve()
  expect(await stopped).toEqual({ completed: 2, failed: 1, interrupted: 0, released: 19, abandoned: [] })
  expect(failed.all).toMatchObject([{ id: cancelled, cause: 'cancelled' }])
  expect(calls).toEqual([cancelled])
})

const prefetches: NonNullable<ConsumeOptions['prefetch']>[] = [0, 'earned', 20, 500]
for (const prefetch of prefetches) {
  for (const backlog of [0, 1_000]) {
    test(`a job that has ended is gone from the table though all others run for long (prefetch: ${prefetch}, ${backlog} wait)`, {
      timeout: 15_000,
    }, async ({ db, gate }) => {
      const blocked = gate()
      const ends = gate()
      const bugle = db.bugle()
      const ids = await bugle.putMany('q', payloads.slice(0, 3 + backlog))
      const [first = ''] = ids
      let begun = 0
      await bugle.consume(
        'q',
        ({ id }: Job) => {
          begun += 1
          return id === first ? ends.promise : blocked.promise
        },
        { concurrency: 3, prefetch },
      )
      while (begun < 3) await new Promise((resolve) => setImmediate(resolve))
      await fence(db)
      ends.resolve()
      await untilState(db, first, null)
    })
  }
}

test('acks wait for no claim that hangs once the consumer stops', async ({ db, gate }) => {
  const gates = [gate(), gate()]
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', [0, 1])
  let begun = 0
  const consumer = await bugle.consume(
    'q',
    async ({ payload }) => {
      begun += 1
      await gates[payload as number]?.promise
    },
    { concurrency: 2, prefetch: 0 },
  )
  while (begun < 2) await new Promise((resolve) => setImmediate(resolve))
  // Claims read it, other statements of consumers do not.
  const stranger = db.connect()
  await stranger.unsafe(`begin; lock table ${db.s}.worker in access exclusive mode`)
  gates[0]?.resolve()
  await until(async () => (await db.sql`select from pg_locks where not granted`).length > 0)
  gates[1]?.resolve()
  const stopped = consumer.stop()
  for (const id of ids) await untilState(db, id, null)
  await stranger.unsafe('rollback')
  expect(await stopped).toMatchObject({ completed: 2, abandoned: [] })
})

/** How long a backlog lasts at the least in which another job gets in. */
const backlog = Array.from({ length: 20_000 }, () => 'backlog')

test('a job of higher priority that is put into a long backlog runs within moments', async ({ db }) => {
  const bugle = db.bugle()
  const ran = signal<number>()
  let runs = 0
  let puts = 0
  await bugle.putMany('q', backlog)
  const consumer = await bugle.consume(
    'q',
    async ({ payload }) => {
      runs += 1
      if (payload === 'urgent') ran.resolve(runs)
      if (runs !== 2_000) return
      puts = runs
      void db.bugle().put('q', 'urgent', { priority: 1 })
    },
    { concurrency: 5 },
  )
  const place = await ran.promise
  expect(puts).toBe(2_000)
  expect(place).toBeLessThan(15_000)
  await consumer.idle()
  expect(runs).toBe(backlog.length + 1)
  expect(await db.jobs()).toEqual([])
})

test('a job that is retried at once in the middle of a long backlog runs again within moments, though its id is old', async ({
  db,
}) => {
  const bugle = db.bugle()
  const ran = signal<number>()
  let runs = 0
  const [old] = await bugle.putMany('q', backlog)
  const consumer = await bugle.consume(
    'q',
    ({ id, attempt }) => {
      runs += 1
      if (id !== old) return
      if (attempt === 1) throw new Error('busy')
      ran.resolve(runs)
    },
    { concurrency: 5, retryStrategy: { retries: 1, delaysMs: 0 } },
  )
  expect(await ran.promise).toBeLessThan(15_000)
  await consumer.idle()
  expect(runs).toBe(backlog.length + 1)
  expect(await db.jobs()).toEqual([])
})
