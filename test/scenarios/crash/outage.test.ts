import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, onTestFinished } from 'vitest'
import { startEmbedded } from '../../../src/embedded/index.js'
import { type BugleOptions, createBugle } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { startOutageProcess } from '../../support/outage-process.js'
import { startProxy, type Proxy as TestProxy } from '../../support/proxy.js'

/** The same numbers for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const silent = { info: () => {}, warn: () => {}, error: () => {} }

async function proxyOf(db: TestDatabase): Promise<TestProxy> {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  return proxy
}

/** An instance that reaches the server through these, in their order. */
function through(proxies: readonly TestProxy[], options: BugleOptions = {}): BugleOptions {
  const hosts = proxies.map(({ port }) => `127.0.0.1:${port}`).join(',')
  return {
    connectionString: `postgres://postgres@${hosts}/postgres?connect_timeout=1`,
    logger: silent,
    ...options,
  }
}

async function putDirectly(db: TestDatabase, queue: string, count: number): Promise<void> {
  await db.sql.unsafe(
    `insert into ${db.s}.job (queue, payload) select '${queue}', to_jsonb(n) from generate_series(1, ${count}) as n`,
  )
}

const seeds = [1, 2, 3]
for (const seed of seeds) {
  test(`F5 backends killed at random in claim and settle: every job settles once, none is lost (seed ${seed})`, async ({
    db,
  }) => {
    const random = seeded(seed)
    const jobs = 300
    const runs = new Map<string, number>()
    const acked = new Map<string, number>()
    const done = signal()
    let crashes = 0
    for (const keep of ['failed', 'all'] as const) {
      const bugle = db.bugle({ poolSize: 4, rescueAfterMs: 2_000, sweepMs: 1_000, logger: silent })
      bugle.on('job:acked', ({ id }) => {
        acked.set(id, (acked.get(id) ?? 0) + 1)
        if (acked.size === jobs) done.resolve()
      })
      await bugle.consume(
        'q',
        async (job) => {
          runs.set(job.id, (runs.get(job.id) ?? 0) + 1)
          crashes = Math.max(crashes, job.crashes)
          await sleep(random() * 10)
        },
        { concurrency: 5, keep },
      )
    }
    let kills = 0
    const chaos = (async () => {
      while (kills < 60 && acked.size < jobs) {
        // The pool's, which claim and settle; now and then the sessions beside it.
        const pids = await db.backends(random() < 0.85 ? '' : random() < 0.5 ? 'control' : 'listener')
        const pid = pids[Math.floor(random() * pids.length)]
        if (pid !== undefined) await db.sql`select pg_terminate_backend(${pid})`
        kills += 1
        await sleep(random() * 30)
      }
    })()
    for (let batch = 0; batch < 10; batch += 1) {
      await putDirectly(db, 'q', jobs / 10)
      await sleep(random() * 60)
    }
    await done.promise
    await chaos
    expect(await db.jobs()).toEqual([])
    expect([...acked.values()].filter((times) => times !== 1)).toEqual([])
    expect([...runs.values()].filter((times) => times !== 1)).toEqual([])
    expect([runs.size, crashes]).toEqual([jobs, 0])
    const [archived] =
      await db.sql.unsafe(`select count(distinct id)::int as jobs, coalesce(sum(crashes), 0)::int as crashes
      from ${db.s}.archive`)
    expect(archived).toMatchObject({ crashes: 0 })
    console.log(`F5 seed ${seed}: ${kills} backends killed, ${archived?.jobs} of ${jobs} jobs archived`)
  })
}

test(
  'F6 the database restarted, fast and immediate, under load: consumers survive, nobody is robbed, all jobs ' +
    'settle',
  async () => {
    const server = await startEmbedded({ settings: { max_connections: 100 } })
    onTestFinished(() => server.stop())
    const { connectionString } = server
    const schema = 'restarted'
    const bugle = createBugle({ connectionString, schema, logger: silent })
    await bugle.migrate()
    await bugle.close()
    let acked = 0
    let tell = (): void => {}
    const ackedAll = (count: number): Promise<void> =>
      new Promise((resolve) => {
        tell = () => {
          if (acked >= count) resolve()
        }
        tell()
      })
    // Short: a worker that gives others up because a restart has freed their locks does so within the test.
    const options = { connectionString, schema, queue: 'q', concurrency: 5, rescueAfterMs: 600 }
    const start = () =>
      startOutageProcess(options, (name) => {
        if (name !== 'job:acked') return
        acked += 1
        tell()
      })
    const processes = await Promise.all([start(), start(), start()])

    /** With a connection of its own: those of before a restart are dead. */
    async function ask<Row extends postgres.Row>(text: string): Promise<Row[]> {
      const sql = postgres(connectionString, { max: 1, onnotice: () => {} })
      try {
        return await sql.unsafe<Row[]>(text)
      } finally {
        await sql.end()
      }
    }

    const each = 400
    let put = 0
    for (const mode of ['fast', 'immediate', 'fast', 'immediate'] as const) {
      await ask(`insert into ${schema}.job (queue) select 'q' from generate_series(1, ${each})`)
      put += each
      // In the middle of it.
      await ackedAll(put - each / 2)
      await server.restart(mode)
    }
    await ackedAll(put)
    const reports = await Promise.all(processes.map((process) => process.stop()))
    expect(reports.map(({ abandoned }) => abandoned)).toEqual([[], [], []])

    expect(await ask(`select * from ${schema}.job`)).toEqual([])
    expect(
      await ask(
        `select count(*)::int as jobs, max(attempt) as attempt, max(crashes) as crashes from ${schema}.archive`,
      ),
    ).toEqual([{ jobs: put, attempt: 1, crashes: 0 }])
    const told = (name: string) => processes.map(({ events }) => events.filter((event) => event.name === name).length)
    expect(told('worker:rescued')).toEqual([0, 0, 0])
    expect(told('worker:lost')).toEqual([0, 0, 0])
    expect(told('job:stale')).toEqual([0, 0, 0])
    expect(told('database:down')).toEqual(told('database:up'))
    expect(await ask(`select * from ${schema}.worker`)).toEqual([])
  },
)

for (const phase of ['idle', 'running', 'settling', 'paused between'] as const) {
  test(`an outage while a consumer is ${phase} is two events, and everything goes on after it`, async ({ db }) => {
    const proxy = await proxyOf(db)
    const bugle = db.bugle(through([proxy], { rescueAfterMs: 600 }))
    const downs = db.collect(bugle, 'database:down')
    const ups = db.collect(bugle, 'database:up')
    const begun = signal()
    const go = signal()
    const acked = db.collect(bugle, 'job:acked')
    const consumer = await bugle.consume('q', async (job) => {
      if (job.payload !== 'held') return
      begun.resolve()
      await go.promise
    })
    await consumer.idle()
    if (phase === 'running' || phase === 'settling') {
      await bugle.put('q', 'held')
      await begun.promise
    }
    if (phase === 'paused between') await consumer.pause()
    await proxy.refuse()
    if (phase === 'settling') go.resolve()
    await downs.next()
    await expect(bugle.put('q', 'refused')).rejects.toMatchObject({ code: 'DATABASE_DOWN' })
    if (phase === 'running') go.resolve()
    await putDirectly(db, 'q', 3)
    await proxy.heal()
    await ups.next()
    if (phase === 'paused between') consumer.resume()
    const jobs = phase === 'running' || phase === 'settling' ? 4 : 3
    for (let n = 0; n < jobs; n += 1) await acked.next()
    expect(await db.jobs()).toEqual([])
    // Pushed again: sweeps are off once it is live.
    const health = db.collect(bugle, 'listener:health')
    await bugle.put('q', 'after')
    await acked.next()
    expect([downs.all.length, ups.all.length]).toEqual([1, 1])
    expect(acked.all).toHaveLength(jobs + 1)
    expect(health.all.filter(({ to }) => to === 'polling')).toEqual([])
  })
}

test(
  'outcomes that cannot be written are kept, hold their slots, and stop the claiming; after the outage each is ' +
    'written once',
  async ({ db }) => {
    const proxy = await proxyOf(db)
    const bugle = db.bugle(through([proxy]))
    const acked = db.collect(bugle, 'job:acked')
    const ended = signal()
    const allBegun = signal()
    const go = signal()
    const begun: string[] = []
    let ends = 0
    const consumer = await bugle.consume(
      'q',
      async (job) => {
        begun.push(job.id)
        if (begun.length === 3) allBegun.resolve()
        await go.promise
        ends += 1
        if (ends === 3) ended.resolve()
      },
      { concurrency: 3 },
    )
    await putDirectly(db, 'q', 12)
    await allBegun.promise
    // Whatever was prefetched is claimed by now, and nothing more.
    await proxy.refuse()
    const downs = db.collect(bugle, 'database:down')
    go.resolve()
    await ended.promise
    await downs.next()
    // The way back for one statement at a time would let a claim through as well.
    // There is none, and no slot to claim for.
    await sleep(500)
    expect([begun.length, consumer.activeJobs, acked.all.length]).toEqual([3, 3, 0])
    expect((await db.jobs()).filter(({ state }) => state === 'running')).toHaveLength(3)
    await proxy.heal()
    for (let n = 0; n < 12; n += 1) await acked.next()
    expect(new Set(begun).size).toBe(12)
    expect(begun).toHaveLength(12)
    expect(await db.jobs()).toEqual([])
  },
)

test(
  'with the database down at the start, of several hosts none is up: consume waits, and begins with whichever ' +
    'comes first',
  async ({ db }) => {
    const [first, second] = [await proxyOf(db), await proxyOf(db)]
    await first.refuse()
    await second.refuse()
    const lines: string[] = []
    const logger = { ...silent, warn: (line: string) => lines.push(line), info: (line: string) => lines.push(line) }
    const bugle = db.bugle(through([first, second], { logger }))
    const downs = db.collect(bugle, 'database:down')
    const ran = signal()
    const consuming = bugle.consume('q', () => ran.resolve())
    await downs.next()
    await second.heal()
    await consuming
    await bugle.put('q', 1)
    await ran.promise
    expect(lines.filter((line) => /cannot be reached|is back/.test(line))).toEqual([
      expect.stringMatching(/^bugle: the database cannot be reached: .*ECONNREFUSED/),
      expect.stringMatching(/^bugle: the database is back after [\d.]+ s$/),
    ])
    expect([first.connections, second.connections > 3]).toEqual([0, true])
  },
)

test('the first of two hosts fails under load: claims, settles, puts and notifications go on by the second', async ({
  db,
}) => {
  const [first, second] = [await proxyOf(db), await proxyOf(db)]
  const bugle = db.bugle(through([first, second], { rescueAfterMs: 600 }))
  const runs = new Map<string, number>()
  const acked = db.collect(bugle, 'job:acked')
  const health = db.collect(bugle, 'listener:health')
  const some = signal()
  await bugle.consume(
    'q',
    async (job) => {
      runs.set(job.id, (runs.get(job.id) ?? 0) + 1)
      if (runs.size === 20) some.resolve()
      await sleep(2)
    },
    { concurrency: 4 },
  )
  expect(second.connections).toBe(0)
  await putDirectly(db, 'q', 60)
  await some.promise
  await first.refuse()
  for (let n = 0; n < 60; n += 1) await acked.next()
  expect([...runs.values()].filter((times) => times !== 1)).toEqual([])
  while ((await health.next()).to !== 'polling');
  while ((await health.next()).to !== 'live');
  // The puts' pool learns of it by itself.
  for (let isPut = false; !isPut; ) {
    isPut = await bugle.put('q', 'after').then(
      () => true,
      (error) => {
        expect(error).toMatchObject({ code: 'DATABASE_DOWN' })
        return false
      },
    )
  }
  await acked.next()
  expect(await db.jobs()).toEqual([])
})

test('a listener that is half open is not taken for a pooler', async ({ db }) => {
  const proxy = await proxyOf(db)
  const lines: string[] = []
  const { connectionString } = through([proxy])
  const bugle = db.bugle({
    listenConnectionString: connectionString ?? '',
    logger: { ...silent, warn: (line) => lines.push(line) },
  })
  const health = db.collect(bugle, 'listener:health')
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve())
  await consumer.idle()
  while ((await health.next()).to !== 'live');
  const frozenAt = performance.now()
  proxy.freeze()
  expect(await health.next()).toMatchObject({ from: 'live', to: 'polling' })
  expect(performance.now() - frozenAt).toBeLessThan(15_000)
  // By sweeps.
  await bugle.put('q', 1)
  await ran.promise
  await proxy.heal()
  expect(await health.next()).toMatchObject({ to: 'live' })
  expect(lines.filter((line) => line.includes('listenConnectionString'))).toEqual([])
  expect(lines).toContain('bugle: notifications do not arrive; jobs are found by sweeps until they do')
})
