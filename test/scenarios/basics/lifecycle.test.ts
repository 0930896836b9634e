import { expect, onTestFinished } from 'vitest'
import { withStatements } from '../../support/changed-statements.js'
import { signal, test } from '../../support/database.js'
import { startProxy } from '../../support/proxy.js'
import { refuse } from '../../support/refusals.js'
import { insertWorker } from '../../support/stats.js'
import { untilShown } from '../../support/stopping.js'
import { until } from '../../support/until.js'

test('handlers may put while their consumer is being stopped by close', async ({ db }) => {
  const bugle = db.bugle()
  const started = signal()
  const go = signal()
  await bugle.consume('q', async (_job, context) => {
    started.resolve()
    await go.promise
    await context.bugle.put('next', 'from a handler')
  })
  await bugle.put('q', 1)
  await started.promise
  const closed = bugle.close()
  go.resolve()
  await closed
  expect(await db.jobs()).toMatchObject([{ queue: 'next', state: 'ready', payload: 'from a handler' }])
  await expect(bugle.put('q', 2)).rejects.toMatchObject({ code: 'CLOSED' })
})

test('puts that wait do not hold up claims, however few connections there are', async ({ db }) => {
  const gate = db.connect()
  await gate`select pg_advisory_lock(4711)`
  await db.sql.unsafe(`
    create function ${db.s}.wait() returns trigger language plpgsql as $$
    begin perform pg_advisory_lock_shared(4711); perform pg_advisory_unlock_shared(4711); return new; end $$`)
  await db.sql.unsafe(`create trigger wait before insert on ${db.s}.job for each row when (new.queue = 'slow')
    execute function ${db.s}.wait()`)
  const bugle = db.bugle({ poolSize: 2 })
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  const slow = [1, 2, 3, 4].map((n) => bugle.put('slow', n))
  await db.sql.unsafe(`insert into ${db.s}.job (queue) values ('q')`)
  await ran.promise
  await gate`select pg_advisory_unlock(4711)`
  await Promise.all(slow)
})

test('an instance whose worker row was left by a stop consumes again', async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('q', () => {})
  await consumer.idle()
  await db.sql.unsafe(
    `insert into ${db.s}.job (queue, state, worker_id) values ('other', 'running', ${bugle.workerId})`,
  )
  // No run of it is known, and it cannot be given back.
  await refuse(db, 'update', `new.queue = 'other'`)
  await consumer.stop()
  expect(await db.sql.unsafe(`select id from ${db.s}.worker`)).toHaveLength(1)
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  await bugle.put('q', 1)
  await ran.promise
})

test('the last consumer takes the worker row and both sessions with it; the next one brings them back', async ({
  db,
}) => {
  const bugle = db.bugle()
  for (let round = 0; round < 3; round += 1) {
    const ran = signal()
    const consumers = [await bugle.consume('a', () => ran.resolve()), await bugle.consume('b', () => {})]
    await bugle.put('a', round)
    await ran.promise
    expect(await db.backends('control')).toHaveLength(1)
    expect(await db.backends('listener')).toHaveLength(1)
    for (const consumer of consumers) await consumer.stop()
    expect(await db.sql.unsafe(`select id from ${db.s}.worker`)).toEqual([])
    await until(async () => (await db.backends('control')).length + (await db.backends('listener')).length === 0)
  }
})

test('with the database down consume waits, says so once, and starts when it is back', async ({ db }) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  through.searchParams.set('connect_timeout', '1')
  // An instance that was never used, and one that was.
  const fresh = db.bugle({ connectionString: through.href })
  const used = db.bugle({ connectionString: through.href })
  await used.put('other', 1)
  for (const fault of ['refuse', 'freeze'] as const) {
    await proxy[fault]()
    for (const bugle of [fresh, used]) {
      const downs = db.collect(bugle, 'database:down')
      const ups = db.collect(bugle, 'database:up')
      const ran = signal<unknown>()
      const consuming = bugle.consume('q', (job) => ran.resolve(job.payload))
      if (bugle === fresh || fault === 'refuse') await downs.next()
      await proxy.heal()
      const consumer = await consuming
      await bugle.put('q', fault)
      expect(await ran.promise).toBe(fault)
      expect(downs.all.length).toBe(ups.all.length)
      await consumer.stop()
      await proxy[fault]()
    }
    await proxy.heal()
  }
  await fresh.close()
  await used.close()
  await proxy.close()
})

// Longer than a statement's deadline of 10 s. CI runs it.
test.runIf(process.env.BUGLE_TEST_SLOW)(
  'after an outage in which connections were accepted and dropped no connection is left unusable',
  async ({ db }) => {
    const { hostname, port } = new URL(db.connectionString)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    const through = new URL(db.connectionString)
    through.port = String(proxy.port)
    const bugle = db.bugle({ connectionString: through.href, poolSize: 2 })
    const errors = db.collect(bugle, 'claim:error')
    const downs = db.collect(bugle, 'database:down')
    const ran = signal()
    const consumer = await bugle.consume('q', () => ran.resolve())
    await consumer.idle()
    proxy.drop()
    // The lost control session is a wake-up; that claim, and a put, find no connection within their time.
    expect(await errors.next()).toMatchObject({ error: { code: expect.stringMatching(/NOT_SENT|CONNECTION_CLOSED/) } })
    await downs.next()
    await proxy.heal()
    await db.sql.unsafe(`insert into ${db.s}.job (queue) values ('q')`)
    await ran.promise
    await bugle.put('other', 1)
    await bugle.close()
    await proxy.close()
  },
)

test('close during the start of a consumer leaves no row and no session', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('other', 1)
  const starting = bugle.consume('q', () => {})
  const watched = expect(starting).resolves.toMatchObject({ queue: 'q', isRunning: false })
  // In the middle of the start: its row is there.
  await until(async () => (await db.sql.unsafe(`select id from ${db.s}.worker`)).length > 0)
  await bugle.close()
  await watched
  expect(await db.sql.unsafe(`select id from ${db.s}.worker`)).toEqual([])
  await until(async () => (await db.backends('control')).length + (await db.backends('listener')).length === 0)
})

test('an abort ends the wait for a database that is down, also behind another consumer that waits', async ({ db }) => {
  const url = new URL(db.connectionString)
  url.port = '1'
  const bugle = db.bugle({ connectionString: url.href })
  const first = new AbortController()
  const second = new AbortController()
  const waiting = bugle.consume('g', () => {}, { signal: first.signal })
  const behind = bugle.consume('h', () => {}, { signal: second.signal })
  second.abort(new Error('enough'))
  await expect(behind).rejects.toThrow('enough')
  first.abort(new Error('that too'))
  await expect(waiting).rejects.toThrow('that too')
})

test('more queues than a worker may hold locks for: the rest says so and lives by sweeps', async ({ db }) => {
  // Of a server that has room for 808 locks, each of two workers may take a quarter.
  await insertWorker(db, 9, '0 s')
  const { createBugle } = await withStatements((statements) => {
    const presence_take = statements.presence_take.replace(
      /current_setting\('max_locks[^;]* as lock_table/,
      '808 as lock_table',
    )
    expect(presence_take).not.toBe(statements.presence_take)
    return { ...statements, presence_take }
  })
  const { connectionString, schema } = db
  const bugle = createBugle({ connectionString, schema, name: schema, sweepMs: 0, logger: false })
  onTestFinished(() => bugle.close())
  const unprotected: unknown[] = []
  bugle.on('consumer:unprotected', ({ reason, pid }) => unprotected.push([reason, pid]))
  const ran = new Map<string, Promise<void>>()
  const queues = Array.from({ length: 205 }, (_, n) => `queue ${n}`)
  const consume = async (queue: string): Promise<void> => {
    const done = signal()
    ran.set(queue, done.promise)
    await bugle.consume(queue, () => done.resolve())
  }
  // The first heartbeat counts the workers.
  await consume(queues[0] ?? '')
  await untilShown(db)
  await Promise.all(queues.slice(1).map(consume))
  await until(() => unprotected.length === 3)
  await Promise.all(queues.map((queue) => bugle.put(queue, null)))
  await Promise.all(ran.values())
  expect(unprotected).toEqual(Array(3).fill(['limit', null]))
  await bugle.close()
  expect(await db.jobs()).toEqual([])
})
