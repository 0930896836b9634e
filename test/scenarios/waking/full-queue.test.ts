import postgres from 'postgres'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { type Bugle, createBugle } from '../../../src/index.js'
import { signal } from '../../support/signal.js'

/** A server whose queue of notifications is full after half a megabyte: a setting since PostgreSQL 17. */
let server: EmbeddedPostgres
let sql: postgres.Sql
let bugle: Bugle

beforeAll(async () => {
  server = await startEmbedded({ settings: { max_notify_queue_pages: 64 } })
  sql = postgres(server.connectionString, { onnotice: () => {}, max: 4 })
  bugle = createBugle({ connectionString: server.connectionString, sweepMs: 0 })
  await bugle.migrate()
})

afterAll(async () => {
  await bugle.close()
  await sql.end({ timeout: 1 })
  await server.stop()
})

interface FilledQueue {
  /** Somebody sends more. */
  fill(share: number | 'full'): Promise<void>
  end(): Promise<void>
}

/** An application's listener that stays in a transaction, until `end`; and what somebody has sent meanwhile. */
async function fillQueue(first: number | 'full'): Promise<FilledQueue> {
  const stuck = postgres(server.connectionString, { onnotice: () => {}, max: 1, idle_timeout: 0 })
  onTestFinished(() => stuck.end({ timeout: 1 }))
  await stuck.unsafe('listen something')
  await stuck.unsafe('begin').simple()
  const usage = async (): Promise<number> => (await sql`select pg_notification_queue_usage() as usage`)[0]?.usage
  const notify = (text: string) => sql`select pg_notify('something', ${text.repeat(7_000)})`
  async function fill(share: number | 'full'): Promise<void> {
    if (share !== 'full') {
      while ((await usage()) < share) await notify('x')
      return
    }
    const overfill = async () => {
      for (;;) await notify('y')
    }
    await expect(overfill()).rejects.toMatchObject({ code: '54000' })
  }
  await fill(first)
  return {
    fill,
    end: async () => {
      await stuck.unsafe('commit').simple()
      // The queue's tail moves on when the usage is asked for.
      await expect.poll(usage).toBe(0)
    },
  }
}

/** A session that sleeps on the queue, as a consumer does: every write that makes a row ready is to notify. */
async function sleepOn(queue: string): Promise<void> {
  const sleeper = postgres(server.connectionString, { max: 1, idle_timeout: 0 })
  onTestFinished(() => sleeper.end({ timeout: 1 }))
  await sleeper`select pg_advisory_lock_shared('bugle.job'::regclass::oid::int, hashtext(${queue}))`
}

/** How many sessions hold the sleep lock of the queue q. */
async function sleepers(): Promise<number> {
  return (await sql.unsafe(loadStatements('bugle').asleep_holders, ['q'])).length
}

test('B11 with the queue of notifications full, whatever would notify is written all the same', async () => {
  const queue = 'written'
  const states = async () =>
    (await sql`select payload, state from bugle.job where queue = ${queue} order by id`).map(
      ({ payload, state }) => `${payload} ${state}`,
    )
  await sleepOn(queue)
  await bugle.put(queue, 'failed')
  await sql`update bugle.job set state = 'failed', finished_at = now() where queue = ${queue}`
  await bugle.put(queue, 'running')
  await sql`update bugle.job set state = 'running', worker_id = 1 where queue = ${queue} and payload = '"running"'`
  await bugle.put(queue, 'due', { delayMs: 3_600_000 })
  await bugle.pause(queue)
  const full = await fillQueue('full')

  await bugle.put(queue, 'plain')
  await bugle.putMany(queue, ['many', 'more'])
  await bugle.put(queue, 'replaced', { key: 'k' })
  await bugle.put(queue, 'kept', { key: 'k', keyMode: 'keep' })
  await bugle.put(queue, 'soon', { delayMs: 30_000 })
  await sql.begin(async (tx) => void (await bugle.put(queue, 'in a transaction', { tx })))
  await sql`select bugle.put(${queue}, '"by SQL"')`
  const ids = await sql`select id::text as id, payload from bugle.job where queue = ${queue}`
  const idOf = (payload: string): string => ids.find((row) => row.payload === payload)?.id ?? ''
  expect(await bugle.requeue(idOf('failed'))).toBe(1)
  // A cancel tells the worker.
  expect(await bugle.cancel(idOf('running'))).toBe('requested')
  // A promotion, a retry, a rescue: rows that become ready.
  await sql`update bugle.job set state = 'ready', run_at = now() where queue = ${queue} and payload = '"due"'`
  await sql`
    update bugle.job set state = 'ready', worker_id = null, run_at = now()
    where queue = ${queue} and payload = '"running"'`
  expect(await bugle.resume(queue)).toBe(true)
  expect(await states()).toEqual([
    ...['failed ready', 'running ready', 'due ready', 'plain ready', 'many ready', 'more ready'],
    ...['replaced ready', 'soon scheduled', 'in a transaction ready', 'by SQL ready'],
  ])

  // Once the queue is read, wake-ups are sent again.
  const heard: string[] = []
  const [channel] = await sql`select 'bugle_' || 'bugle.job'::regclass::oid as name`
  const listener = postgres(server.connectionString, { max: 1 })
  onTestFinished(() => listener.end({ timeout: 1 }))
  await full.end()
  await listener.listen(channel?.name, (payload) => heard.push(payload))
  await bugle.put(queue, 'later')
  await expect.poll(() => heard).toEqual([queue])
  await sql`delete from bugle.job`
})

test('B11 with the queue of notifications full, sweeps run every job, and no outcome is lost', async () => {
  const full = await fillQueue('full')
  const failed: unknown[] = []
  bugle.on('job:failed', (data) => failed.push(data))
  const runs: string[] = []
  const consumer = await bugle.consume(
    'q',
    (job) => {
      runs.push(`${job.payload} ${job.attempt}`)
      if (job.payload === 'fails once' && job.attempt === 1) throw new Error('once')
    },
    { retryStrategy: () => ({ delayMs: 0 }) },
  )
  await sleepOn('q')
  await bugle.put('q', 'fails once')
  await bugle.put('q', 'runs')
  await expect.poll(() => runs.toSorted(), { timeout: 20_000 }).toEqual(['fails once 1', 'fails once 2', 'runs 1'])
  await consumer.stop()
  expect(failed).toEqual([])
  expect(await sql`select from bugle.job`).toHaveLength(0)
  await full.end()
})

test('B11 with the queue half full, nobody is notified, no listener is live, and sweeps run every job', async () => {
  const half = await fillQueue(0.5)
  await sleepOn('q')
  const ran: unknown[] = []
  const health: string[] = []
  bugle.on('listener:health', ({ to }) => health.push(to))
  const consumer = await bugle.consume('q', (job) => void ran.push(job.payload))
  await bugle.put('q', 1)
  await expect.poll(() => ran, { timeout: 20_000 }).toEqual([1])
  expect(health).toEqual(['polling'])
  await half.end()
  await expect.poll(() => health, { timeout: 20_000 }).toEqual(['polling', 'live'])
  await consumer.stop()
})

test('B11 a job that nobody was notified of starts soon, though the queue has room before the next ping', async () => {
  const queue = await fillQueue(0.1)
  const health: string[] = []
  bugle.on('listener:health', ({ to }) => health.push(to))
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve())
  // It sleeps, as all is well: for it every put notifies.
  await expect.poll(sleepers).toBe(1)
  await consumer.idle()
  await queue.fill(0.5)
  await bugle.put('q', 1)
  await queue.end()
  await ran.promise
  expect(health[0]).toBe('live')
  await consumer.stop()
})

test('presence: the lock of a process that begins beside a full queue is held from its beginning', async () => {
  const full = await fillQueue('full')
  const consumer = await bugle.consume('q', () => {})
  const { presence_holders } = loadStatements('bugle')
  expect(await sql.unsafe(presence_holders, [`{${bugle.workerId}}`])).toHaveLength(1)
  // Nobody would hear what this lock makes writers say.
  expect(await sleepers()).toBe(0)
  await full.end()
  await consumer.stop()
})
