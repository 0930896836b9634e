import postgres from 'postgres'
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { type Bugle, type BugleOptions, type ConsumeOptions, createBugle, type Job } from '../../../src/index.js'
import { startCrashProcess } from '../../support/crash-process.js'
import { signal } from '../../support/signal.js'
import { trustingModule } from '../../support/trusting.js'
import { until } from '../../support/until.js'

const schema = 'bugle'
let server: EmbeddedPostgres
let connectionString: string

beforeAll(async () => {
  // For ten seconds from its start nobody writes the log to the disk but those whose commits wait for that. So a crash
  // forgets what nobody has waited for; and each test begins with a start, and ends sooner.
  const settings = { wal_writer_delay: '10s', autovacuum: false }
  server = await startEmbedded({ package: inject('serverPackage'), settings })
  connectionString = server.connectionString
  const bugle = createBugle({ connectionString, schema, logger: false })
  await bugle.migrate()
  await bugle.close()
})

afterAll(() => server?.stop())

/** With a connection of its own: those of before a crash are dead. */
async function ask<Row extends postgres.Row>(text: string): Promise<Row[]> {
  const sql = postgres(connectionString, { max: 1, onnotice: () => {} })
  try {
    return await sql.unsafe<Row[]>(text)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

const rowsOf = (queue: string) =>
  ask<{ state: string; attempt: number; crashes: number }>(
    `select state, attempt, crashes from ${schema}.job where queue = '${queue}' order by id`,
  )

/** Takes the server that it meets for one that has run for an hour, and has no heartbeat for some seconds. */
async function trusting(options: BugleOptions = {}): Promise<Bugle> {
  const module = await trustingModule()
  const given = { connectionString, schema, logger: false, sweepMs: 0, rescueAfterMs: '30s' } as const
  const bugle = module.createBugle({ ...given, ...options }) as unknown as Bugle
  onTestFinished(() => bugle.close({ graceMs: 0, abortMs: 0 }))
  return bugle
}

/**
 * One that has written its last heartbeat for some seconds: it commits durably, and what was committed before it is
 * not forgotten either.
 */
async function consume(bugle: Bugle, queue: string, handler: (job: Job) => unknown, options: ConsumeOptions = {}) {
  const consumer = await bugle.consume(queue, handler, options)
  const shown = `select from ${schema}.worker where id = ${bugle.workerId} and consumers::text like '%"${queue}"%'`
  await until(async () => (await ask(shown)).length === 1)
  return consumer
}

/** The handler may begin before the answer to the put is here, and must not crash the server then. */
async function put(bugle: Bugle, queue: string, payloads: readonly unknown[]): Promise<string[]> {
  isPut = signal()
  const ids = await bugle.putMany(queue, payloads)
  isPut.resolve()
  return ids
}

let isPut = signal()

function watched(bugle: Bugle) {
  const told = { acked: [] as string[], stale: [] as string[], failed: [] as string[] }
  bugle.on('job:acked', ({ id }) => told.acked.push(id))
  bugle.on('job:stale', ({ id }) => told.stale.push(id))
  bugle.on('job:failed', ({ cause }) => told.failed.push(cause))
  return told
}

async function crash(): Promise<void> {
  await isPut.promise
  await server.restart('immediate')
}

for (const keep of ['failed', 'all'] as const) {
  test(`forgotten claims: a job runs twice, and only its second run is settled (keep ${keep})`, async () => {
    const bugle = await trusting()
    const told = watched(bugle)
    const queue = `twice-${keep}`
    const runs: number[] = []
    const consumer = await consume(
      bugle,
      queue,
      async ({ attempt }) => {
        runs.push(attempt)
        if (runs.length > 1) return
        await crash()
        await until(() => told.acked.length === 1)
      },
      { keep },
    )
    const [id] = await put(bugle, queue, [null])
    await until(() => told.stale.length === 1)
    await consumer.idle()
    // The first attempt was forgotten as well.
    expect(runs).toEqual([1, 1])
    expect(told).toEqual({ acked: [id], stale: [id], failed: [] })
    expect(await rowsOf(queue)).toEqual([])
    const archived = await ask(`select attempt, crashes from ${schema}.archive where queue = '${queue}'`)
    expect(archived).toEqual(keep === 'all' ? [{ attempt: 1, crashes: 0 }] : [])
  })
}

for (const whose of ['instance', 'consumer'] as const) {
  test(`forgotten claims: with durableClaims of the ${whose} a job runs once`, async () => {
    const bugle = await trusting(whose === 'instance' ? { durableClaims: true } : {})
    const told = watched(bugle)
    const queue = `once-${whose}`
    const runs: number[] = []
    const handler = async ({ attempt }: Job): Promise<void> => {
      runs.push(attempt)
      await crash()
    }
    const consumer = await consume(bugle, queue, handler, whose === 'consumer' ? { durableClaims: true } : {})
    const [id] = await put(bugle, queue, [null])
    await until(() => told.acked.length === 1)
    await consumer.idle()
    expect(runs).toEqual([1])
    expect(told).toEqual({ acked: [id], stale: [], failed: [] })
    expect(await rowsOf(queue)).toEqual([])
  })
}

test('forgotten claims: what was acked stays acked, and so does the claim that has carried the ack', async () => {
  const bugle = await trusting()
  const told = watched(bugle)
  const runs: string[] = []
  const consumer = await consume(
    bugle,
    'carried',
    async ({ id }) => {
      runs.push(id)
      // By the claim that has brought this job, the first one is acked.
      if (runs.length === 2) await crash()
    },
    { concurrency: 1, prefetch: 0 },
  )
  const ids = await put(bugle, 'carried', [1, 2, 3])
  await until(() => told.acked.length === 3)
  await consumer.idle()
  expect(runs).toEqual(ids)
  expect(told).toEqual({ acked: ids, stale: [], failed: [] })
  expect(await rowsOf('carried')).toEqual([])
})

test('forgotten claims: a claim that another outcome follows is remembered', async () => {
  const bugle = await trusting()
  const told = watched(bugle)
  const go = signal()
  const runs: unknown[] = []
  const consumer = await consume(bugle, 'followed', async ({ payload }) => {
    runs.push(payload)
    if (payload === 'held') await go.promise
  })
  await put(bugle, 'followed', ['held'])
  await until(() => runs.length === 1)
  await put(bugle, 'followed', ['quick'])
  await until(() => told.acked.length === 1)
  await crash()
  expect(await rowsOf('followed')).toMatchObject([{ state: 'running', attempt: 1 }])
  go.resolve()
  await until(() => told.acked.length === 2)
  await consumer.idle()
  expect(runs).toEqual(['held', 'quick'])
  expect(told.stale).toEqual([])
})

test('forgotten claims: of a job that goes on crashing the server one run is forgotten, and it fails', async () => {
  const bugle = await trusting()
  const told = watched(bugle)
  const runs: number[] = []
  await consume(
    bugle,
    'crashing',
    async ({ attempt }) => {
      runs.push(attempt)
      if (runs.length > 5) return
      await crash()
      throw new Error('the server was lost')
    },
    { retryStrategy: { maxAttempts: 2, delaysMs: [0] } },
  )
  await put(bugle, 'crashing', [null])
  await until(() => told.failed.length + told.acked.length === 1)
  expect(runs).toEqual([1, 1, 2])
  expect(told).toMatchObject({ acked: [], failed: ['exhausted'] })
})

test('forgotten claims: a job that takes the server and its process along is failed after maxCrashes', async () => {
  const options = { rescueAfterMs: 300, maxCrashes: 2 } as const
  const bugle = createBugle({ connectionString, schema, logger: false, ...options })
  onTestFinished(() => bugle.close({ graceMs: 0, abortMs: 0 }))
  await put(bugle, 'fatal', [{ does: 'hold' }])
  await crash()
  for (let crashes = 0; crashes < 2; crashes += 1) {
    // A new process, which has lost nothing, on a server that has just begun anew.
    const dying = await startCrashProcess({ connectionString, schema }, { queue: 'fatal', options })
    await dying.ran(1)
    await Promise.all([crash(), dying.kill('SIGKILL')])
    expect(await rowsOf('fatal')).toEqual([{ state: 'running', attempt: crashes + 1, crashes }])
  }
  const told = watched(bugle)
  await bugle.consume('other', () => {})
  await until(() => told.failed.length === 1)
  expect(told.failed).toEqual(['crashed'])
  expect(await rowsOf('fatal')).toEqual([{ state: 'failed', attempt: 2, crashes: 2 }])
})
