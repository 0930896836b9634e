import postgres from 'postgres'
import { expect } from 'vitest'
import type { Job } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { insertSteadily, percentile, startFleet } from '../../support/fleet.js'
import { startProxy } from '../../support/proxy.js'
import { untilAsleep } from '../../support/sleepers.js'
import { countNotifications } from '../../support/wakeups.js'

// How long an idle consumer is watched; a minute for the record.
const watchMs = Number(process.env.BUGLE_TEST_WATCH_MS ?? 3_000)

test('B13 with transactions of others left open an idle consumer settles to sweeps alone', {
  timeout: 200_000,
}, async ({ db }) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  // One transaction with an id on another table, one in another database.
  const here = db.connect()
  await here.unsafe(`create table ${db.s}.other (n int)`)
  await here.unsafe('begin')
  await here.unsafe(`insert into ${db.s}.other values (1)`)
  const otherDatabase = new URL(db.connectionString)
  otherDatabase.pathname = '/template1'
  const elsewhere = postgres(otherDatabase.href, { max: 1 })
  await elsewhere.unsafe('begin')
  await elsewhere.unsafe('select pg_current_xact_id()')

  // Heartbeats are counted apart: with this none comes while it is watched.
  const bugle = db.bugle({ connectionString: through.href, rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000 })
  const consumer = await bugle.consume('q', () => {})
  await bugle.put('q', 'asleep and awake once')
  await consumer.idle()
  // Settled: a while without a statement.
  for (let before = -1; before !== proxy.sent; ) {
    before = proxy.sent
    await watch(1_100)
  }
  const before = proxy.sent
  await watch(watchMs)
  const statements = proxy.sent - before
  console.log(`B13: ${statements} messages of an idle consumer in ${watchMs / 1_000} s`)
  // The loop-back ping, at most every 8 s, is one statement, and so is the look for what is due in more than a minute.
  expect(statements).toBeLessThanOrEqual(1 + Math.ceil(watchMs / 8_000) + Math.floor(watchMs / 27_000))

  await bugle.close()
  await here.unsafe('rollback')
  await elsewhere.unsafe('rollback')
  await elsewhere.end()
  await proxy.close()
})

test('fleet: of many that sleep a few claim at an insert; one that stops is replaced, and a burst wakes all', async ({
  db,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  const size = 24
  const runs: number[] = Array(size).fill(0)
  let ran = signal<number>()
  const bursts = Array.from({ length: size }, () => signal())
  const held = signal()
  const consumers = await Promise.all(
    runs.map(async (_, index) => {
      // Without heartbeats, which would be counted as well.
      const options = { rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000, poolSize: 2 }
      const bugle = db.bugle({ connectionString: through.href, ...options })
      const handler = async ({ payload }: Job): Promise<void> => {
        if (payload === 'burst') {
          bursts[index]?.resolve()
          return held.promise
        }
        runs[index] = (runs[index] ?? 0) + 1
        ran.resolve(index)
      }
      return bugle.consume('q', handler, { concurrency: 2, prefetch: 0 })
    }),
  )
  await untilAsleep(db, 'q', size)
  const insert = (payload: string, jobs = 1): Promise<unknown> =>
    db.sql.unsafe(
      `insert into ${db.s}.job (queue, payload) select 'q', to_jsonb($1::text) from generate_series(1, $2)`,
      [payload, jobs],
    )
  async function insertOne(): Promise<number> {
    ran = signal()
    await insert('one')
    const index = await ran.promise
    await watch(60)
    return index
  }
  // All of them would claim once, and one would ack. Those that doze do so after some wake-ups for nothing.
  let last = 0
  for (let perJob = Number.POSITIVE_INFINITY; perJob > size / 2; ) {
    const before = proxy.sent
    for (let n = 0; n < 10; n += 1) last = await insertOne()
    perJob = (proxy.sent - before) / 10
    console.log(`fleet: ${perJob.toFixed(1)} statements a job of ${size} consumers that sleep`)
  }

  await consumers[last]?.stop()
  expect(await insertOne()).not.toBe(last)
  await insert('burst', 2 * (size - 1))
  await Promise.all(bursts.map(({ promise }, index) => (index === last ? undefined : promise)))
  held.resolve()
  await Promise.all(consumers.map((consumer) => consumer.stop()))
  expect(await db.jobs()).toEqual([])
  await proxy.close()
})

test('B14 eight processes asleep on one queue under fast inserts: most do not notify, nothing is late', async ({
  db,
}) => {
  const rate = Number(process.env.BUGLE_TEST_FLEET_RATE ?? 600)
  const jobs = 3 * rate
  const notifications = await countNotifications(db)
  const fleet = await startFleet({
    connectionString: db.connectionString,
    schema: db.schema,
    queue: 'q',
    processes: 8,
    handlerMs: 5,
    slots: 10,
  })
  await notifications.settled()
  notifications.reset()
  const text = `insert into ${db.s}.job (queue, payload) values ('q', jsonb_build_object('at', $1::text))`
  const writer = postgres(db.connectionString, { max: 16 })
  await insertSteadily((at) => writer.unsafe(text, [at], { prepare: true }).execute(), rate, jobs)
  await fleet.ran(jobs)
  await notifications.settled()
  const share = notifications.count / jobs
  const empties = fleet.claims.empty / jobs
  const latencies = fleet.runs.map((run) => run.latencyMs)
  console.log(
    `B14: ${(100 * share).toFixed(1)} % of ${jobs} inserts, ${rate} a second, notified; ` +
      `${empties.toFixed(2)} empty claims a job; ` +
      `put to start p50 ${percentile(latencies, 0.5).toFixed(1)} ms, p99 ${percentile(latencies, 0.99).toFixed(1)} ms`,
  )
  expect(new Set(fleet.runs.map((run) => run.id)).size).toBe(jobs)
  expect(fleet.runs).toHaveLength(jobs)
  expect(share).toBeLessThan(0.5)
  await fleet.end()
  expect(await db.jobs()).toEqual([])
  await writer.end()
  await notifications.end()
})

function watch(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
