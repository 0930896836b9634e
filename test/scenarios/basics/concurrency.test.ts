import { expect } from 'vitest'
import { createRuns, startConsumerProcess } from '../../support/consumer-process.js'
import { test as base, signal, type TestDatabase } from '../../support/database.js'
import { untilAsleep } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

const test = base.extend<{ crew: () => Crew }>({
  // A fixture above `db`, and so ended before it: after a failure nobody else would end these handlers, and an
  // instance that closes waits for its handlers.
  crew: async ({ db: _ }, use) => {
    const crews: Crew[] = []
    try {
      await use(() => {
        const crew = createCrew()
        crews.push(crew)
        return crew
      })
    } finally {
      for (const crew of crews) crew.endAll()
    }
  },
})

for (const concurrency of [1, 7]) {
  test(`C1 never more than ${concurrency} handlers at once, and ${concurrency} is reached`, async ({ db, crew }) => {
    const bugle = db.bugle()
    const handlers = crew()
    const consumer = await bugle.consume('emails', handlers.run, { concurrency })
    const count = concurrency * 5
    await bugle.putMany('emails', [...Array(count).keys()])
    for (let left = count; left > 0; left -= 1) {
      const running = Math.min(concurrency, left)
      await handlers.reach(running)
      expect(consumer.activeJobs).toBeLessThanOrEqual(concurrency)
      if (left === count) {
        // Every slot is taken: what comes now waits in the table, however often it is looked at.
        await fence(db)
        expect(await states(db)).toEqual({ running: concurrency, ready: count - concurrency })
        expect(handlers.running).toBe(concurrency)
      }
      handlers.endOne()
    }
    await consumer.idle()
    expect(handlers.most).toBe(concurrency)
    expect(handlers.total).toBe(count)
    expect(await db.jobs()).toEqual([])

    /** A job of another queue goes the whole way: what could have happened before it has. */
    async function fence(db: TestDatabase): Promise<void> {
      const ran = signal()
      const marker = await bugle.consume('marker', () => ran.resolve())
      await db.sql.unsafe(`insert into ${db.s}.job (queue) values ('emails'), ('marker')`)
      await ran.promise
      await marker.stop()
      await db.sql.unsafe(`delete from ${db.s}.job where queue = 'emails' and payload = 'null'`)
    }
  })
}

test('C1 one slow job does not hold back the others', async ({ db, crew }) => {
  const bugle = db.bugle()
  const slow = crew()
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'emails',
    async (job) => {
      if (job.payload === 'slow') await slow.run()
      seen.push(job.payload)
      if (job.payload === 99) allQuick.resolve()
    },
    { concurrency: 2 },
  )
  const allQuick = signal()
  await bugle.put('emails', 'slow')
  await bugle.putMany('emails', [...Array(100).keys()])
  await allQuick.promise
  expect(seen).toEqual([...Array(100).keys()])
  slow.endAll()
  await consumer.idle()
  expect(seen.at(-1)).toBe('slow')
  expect(await db.jobs()).toEqual([])
})

test('C2 two processes, 10,000 jobs: each runs once', async ({ db }) => {
  await createRuns(db)
  const processes = await Promise.all([1, 2].map(() => startConsumerProcess(db, { queue: 'emails', concurrency: 20 })))
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload)
    select 'emails', to_jsonb(n) from generate_series(1, 10000) as n`)
  // Both are at work before either may go on: so both take part, however the machine divides its time.
  await Promise.all(processes.map(({ held }) => held))
  for (const { go } of processes) go()
  await Promise.all(processes.map((process) => process.idle()))
  const reports = await Promise.all(processes.map((process) => process.stop()))

  expect(await db.jobs()).toEqual([])
  const runs = await db.sql.unsafe(`select count(*)::int as runs, count(distinct job)::int as jobs from ${db.s}.run`)
  expect(runs).toEqual([{ runs: 10_000, jobs: 10_000 }])
  const byProcess = await db.sql.unsafe<{ pid: number; runs: number }[]>(
    `select pid, count(*)::int as runs from ${db.s}.run group by pid`,
  )
  for (const [index, { pid }] of processes.entries()) {
    const own = byProcess.find((row) => row.pid === pid)?.runs
    expect(own).toBeGreaterThan(0)
    expect(reports[index]).toMatchObject({ completed: own, failed: 0 })
  }
  expect(byProcess).toHaveLength(2)
  expect(await workers(db)).toBe(0)
})

test('C3 one of two stops: the other takes the rest', async ({ db, crew }) => {
  const first = crew()
  const second = crew()
  const staying = db.bugle()
  const going = await db.bugle().consume('emails', first.run, { concurrency: 2 })
  const rest = await staying.consume('emails', second.run, { concurrency: 2 })
  await untilAsleep(db, 'emails', 2)
  await staying.putMany('emails', [...Array(12).keys()])
  await Promise.all([first.reach(2), second.reach(2)])

  const stopped = going.stop()
  expect(going.isRunning).toBe(false)
  first.endAll()
  expect(await stopped).toEqual({ completed: 2, failed: 0, interrupted: 0, released: 0, abandoned: [] })
  expect(await states(db)).toEqual({ running: 2, ready: 8 })
  expect(await workers(db)).toBe(1)

  second.endAll()
  await rest.idle()
  expect([first.total, second.total]).toEqual([2, 10])
  // And what is put later.
  await staying.put('emails', 'later')
  await rest.idle()
  expect([first.total, second.total]).toEqual([2, 11])
  expect(await db.jobs()).toEqual([])
})

test('C3 one of two that stops while both sleep: the other still wakes', async ({ db }) => {
  const bugle = db.bugle()
  const going = await db.bugle().consume('emails', () => expect.unreachable())
  const ran = signal()
  await bugle.consume('emails', () => ran.resolve())
  await untilAsleep(db, 'emails', 2)
  await going.stop()
  await bugle.put('emails', null)
  await ran.promise
})

test('C4 consumers of different queues in one process share one listener and one control connection', async ({
  db,
}) => {
  const bugle = db.bugle()
  const queues = ['emails', 'media', 'reports']
  const ran = new Map(queues.map((queue) => [queue, signal()]))
  const consumers = await Promise.all(queues.map((queue) => bugle.consume(queue, () => ran.get(queue)?.resolve())))
  for (const queue of queues) await untilAsleep(db, queue)
  for (const queue of queues) await bugle.put(queue, null)
  for (const { promise } of ran.values()) await promise
  expect(await listening(db)).toBe(1)
  expect(await db.backends('control')).toHaveLength(1)
  expect(await workers(db)).toBe(1)

  // They stay until the last one stops.
  await consumers[0]?.stop()
  expect(await listening(db)).toBe(1)
  await Promise.all(consumers.map((consumer) => consumer.stop()))
  expect(await workers(db)).toBe(0)
  await gone(() => listening(db))
  await gone(async () => (await db.backends('control')).length)

  // And a further one makes new ones.
  const again = signal()
  await bugle.consume('emails', () => again.resolve())
  await untilAsleep(db, 'emails')
  await bugle.put('emails', null)
  await again.promise
  expect(await listening(db)).toBe(1)
})

/** Handlers that end when they are told to. */
interface Crew {
  running: number
  most: number
  total: number
  readonly run: () => Promise<void>
  /** Resolves when so many run. */
  reach(count: number): Promise<void>
  endOne(): void
  /** Those that run, and those that come. */
  endAll(): void
}

function createCrew(): Crew {
  const waiting: (() => void)[] = []
  let reached = signal()
  let released = false
  const handlers: Crew = {
    running: 0,
    most: 0,
    total: 0,
    run: async (): Promise<void> => {
      handlers.total += 1
      handlers.running += 1
      handlers.most = Math.max(handlers.most, handlers.running)
      reached.resolve()
      reached = signal()
      if (!released) await new Promise<void>((resolve) => waiting.push(resolve))
      else handlers.running -= 1
    },
    async reach(count: number): Promise<void> {
      while (handlers.running < count) await reached.promise
    },
    endOne(): void {
      // Counted here: a promise's resolution is seen later.
      handlers.running -= 1
      waiting.shift()?.()
    },
    endAll(): void {
      released = true
      while (waiting.length > 0) handlers.endOne()
    },
  }
  return handlers
}

async function states(db: TestDatabase): Promise<Record<string, number>> {
  const rows = await db.sql.unsafe<{ state: string; jobs: number }[]>(
    `select state, count(*)::int as jobs from ${db.s}.job group by state`,
  )
  return Object.fromEntries(rows.map(({ state, jobs }) => [state, jobs]))
}

async function workers(db: TestDatabase): Promise<number> {
  const rows = await db.sql.unsafe(`select from ${db.s}.worker`)
  return rows.length
}

/** Sessions of this test whose last statement was a LISTEN: which is all that a listener ever says. */
async function listening(db: TestDatabase): Promise<number> {
  const pids = await db.backends('listener')
  const rows = await db.sql`select from pg_stat_activity where pid = any(${pids}) and query ilike 'listen %'`
  return rows.length
}

/** A backend ends some moments after its client has left. */
async function gone(count: () => Promise<number>): Promise<void> {
  await until(async () => (await count()) === 0)
}
