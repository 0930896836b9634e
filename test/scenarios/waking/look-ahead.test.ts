import { expect } from 'vitest'
import { countIn, untilRunning } from '../../support/counts.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'
import { countUp, many, onceEach, payloads, sorted } from '../../support/runs.js'
import { fence } from '../../support/stopping.js'

/** From now on records the most rows that run at once. It counts them after each statement that claims or settles. */
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

test('short handlers earn look-ahead: more is claimed than there are slots; every job runs once, none is left', async ({
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

test('handlers that turn slow: held jobs and their attempts go back within moments; another process runs them', async ({
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
  // It takes 50 ms on a quiet machine.
  expect(performance.now() - slowAt).toBeLessThan(5_000)
  const waiting = (await fullRows(db)).filter(({ state }) => state !== 'running')
  // Acks that were held along with the jobs are settled too.
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

/** Long enough for another job to be put while it lasts. */
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

test('a job retried at once in the middle of a long backlog runs again within moments, though its id is old', async ({
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
    { concurrency: 5, retryStrategy: { maxAttempts: 2, delaysMs: 0 } },
  )
  expect(await ran.promise).toBeLessThan(15_000)
  await consumer.idle()
  expect(runs).toBe(backlog.length + 1)
  expect(await db.jobs()).toEqual([])
})
