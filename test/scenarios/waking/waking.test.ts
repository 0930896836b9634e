import pg from 'pg'
import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { signal, test } from '../../support/database.js'
import { startProxy } from '../../support/proxy.js'
import { untilAsleep, untilAwake, untilSoundAsleep } from '../../support/sleepers.js'
import { countNotifications } from '../../support/wakeups.js'

// Sweeps are off in this file unless a test turns them on: only a notification, or a timer of ours, can have done it.

const times = process.env.BUGLE_TEST_SLOW ? 1_000 : 250

test(`B1 an idle consumer starts a job at once, ${times} times in a row`, async ({ db }) => {
  const bugle = db.bugle()
  let started = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => started.resolve(job.payload))
  for (let round = 0; round < times; round += 1) {
    started = signal()
    await bugle.put('q', round)
    expect(await started.promise).toBe(round)
  }
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('B2 fifty inserts in one transaction all run, though their notifications fold into one', async ({ db }) => {
  const bugle = db.bugle()
  const notifications = await countNotifications(db)
  const all = signal()
  let runs = 0
  const consumer = await bugle.consume('q', () => {
    runs += 1
    if (runs === 50) all.resolve()
  })
  await consumer.idle()
  await db.sql.begin(async (tx) => {
    for (let i = 0; i < 50; i += 1) await bugle.put('q', i, { tx })
  })
  await all.promise
  await notifications.settled()
  expect(notifications.count).toBe(1)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  await notifications.end()
})

test('B3 an insert that commits while an empty claim is in flight still runs at once', async ({ db }) => {
  const bugle = db.bugle()
  let started = signal()
  const consumer = await bugle.consume('q', () => started.resolve())
  await consumer.idle()
  const [row] = await db.sql.unsafe<{ channel: string }[]>(loadStatements(db.schema).channel)
  // False alarms keep an empty claim in flight nearly all the time, while jobs are put in between.
  const alarms = new AbortController()
  const alarming = Promise.all(
    [0, 1].map(async () => {
      while (!alarms.signal.aborted) await db.sql`select pg_notify(${row?.channel ?? ''}, 'q')`
    }),
  )
  for (let round = 0; round < 300; round += 1) {
    started = signal()
    await bugle.put('q', round)
    await started.promise
  }
  alarms.abort()
  await alarming
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('B5 the listener backend is killed: jobs put in the gap run', async ({ db }) => {
  const bugle = db.bugle()
  const health = db.collect(bugle, 'listener:health')
  const ran: unknown[] = []
  const consumer = await bugle.consume('q', (job) => void ran.push(job.payload))
  expect((await health.next()).to).toBe('live')
  for (let round = 0; round < 5; round += 1) {
    await db.kill(await db.backends('listener'))
    await bugle.put('q', `gap ${round}`)
    expect(await health.next()).toMatchObject({ from: 'live', to: 'polling' })
    expect(await health.next()).toMatchObject({ from: 'polling', to: 'live' })
    await consumer.idle()
    expect(ran).toEqual([`gap ${round}`])
    ran.length = 0
  }
  expect(await db.backends('listener')).toHaveLength(1)
  expect(await db.jobs()).toEqual([])
})

test('B6 the control session is killed: jobs put in the gap run, and the consumer sleeps under a lock again', async ({
  db,
}) => {
  const bugle = db.bugle()
  let started = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => started.resolve(job.payload))
  for (let round = 0; round < 5; round += 1) {
    await consumer.idle()
    started = signal()
    await db.kill(await db.backends('control'))
    await bugle.put('q', round)
    expect(await started.promise).toBe(round)
  }
  // Asleep under a lock means that a writer notifies.
  const notifications = await countNotifications(db)
  for (let tries = 0; notifications.count === 0; tries += 1) {
    await consumer.idle()
    started = signal()
    await bugle.put('q', tries)
    await started.promise
    await notifications.settled()
  }
  await notifications.end()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('B7 the listener is half-open: noticed within 15 s, and jobs run meanwhile by sweeps', async ({ db }) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const direct = new URL(db.connectionString)
  direct.port = String(proxy.port)
  const bugle = db.bugle({ listenConnectionString: direct.href })
  const health = db.collect(bugle, 'listener:health')
  const ran = signal<unknown>()
  await bugle.consume('q', (job) => ran.resolve(job.payload))
  expect((await health.next()).to).toBe('live')
  const frozenAt = performance.now()
  proxy.freeze()
  await bugle.put('q', 'in the dark')
  expect(await health.next()).toMatchObject({ from: 'live', to: 'polling' })
  // The promise itself is a time; the ping's interval and patience add up to 12.5 s.
  expect(performance.now() - frozenAt).toBeLessThan(15_000)
  expect(await ran.promise).toBe('in the dark')
  await proxy.heal()
  expect(await health.next()).toMatchObject({ from: 'polling', to: 'live' })
  await bugle.close()
  await proxy.close()
})

const names = [
  'MixedCase',
  'with-hyphen',
  'dotted.name',
  `it's "quoted"`,
  'semi;colon; drop table job; --',
  '🎺 fanfare',
  ' leading and trailing ',
  'back\\slash',
  '0123456789abcdef'.repeat(8),
  '🎺'.repeat(128),
]
test('B10 queue names: mixed case, hyphen, dot, quotes, semicolon, emoji, 128 characters', async ({ db }) => {
  const bugle = db.bugle()
  for (const name of names) {
    const ran = signal<string>()
    const consumer = await bugle.consume(name, (job) => ran.resolve(job.queue))
    await consumer.idle()
    await bugle.put(name, null)
    expect(await ran.promise).toBe(name)
    await consumer.stop()
  }
  expect(await db.jobs()).toEqual([])
})

test('B11 with the trigger disabled sweeps alone do everything', async ({ db }) => {
  await db.sql.unsafe(`alter table ${db.s}.job disable trigger job_wake_insert`)
  const bugle = db.bugle({ sweepMs: 50 })
  let ran = signal<unknown>()
  await bugle.consume('q', (job) => ran.resolve(job.payload))
  for (let round = 0; round < 20; round += 1) {
    ran = signal()
    await bugle.put('q', round)
    expect(await ran.promise).toBe(round)
  }
})

test('B11 with listen: false sweeps alone do everything, and no session is kept for waking', async ({ db }) => {
  const bugle = db.bugle({ listen: false })
  const ran = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => ran.resolve(job.payload))
  await consumer.idle()
  await bugle.put('q', 'swept')
  expect(await ran.promise).toBe('swept')
  expect(await db.backends('listener')).toEqual([])
  expect(await db.backends('control')).toEqual([])
})

test('B12 consumers busy with a backlog: a writer sends no NOTIFY, and nothing is late when they fall asleep', async ({
  db,
}) => {
  const bugle = db.bugle()
  const gate = signal()
  let runs = 0
  const consumer = await bugle.consume(
    'q',
    async () => {
      runs += 1
      await gate.promise
    },
    { concurrency: 2 },
  )
  const notifications = await countNotifications(db)
  await bugle.putMany('q', [1, 2, 3, 4])
  // Both slots are taken, and K is given up: seen from outside when its lock is gone.
  await untilAwake(db, 'q')
  await notifications.settled()
  notifications.reset()
  for (let i = 0; i < 500; i += 1) await bugle.put('q', i)
  await notifications.settled()
  expect(notifications.count).toBe(0)
  gate.resolve()
  await consumer.idle()
  expect(runs).toBe(504)
  expect(await db.jobs()).toEqual([])
  await notifications.end()
})

test('B12 with several writers at once at most 3 % of the inserts notify while consumers are busy', async ({ db }) => {
  const bugle = db.bugle({ poolSize: 16 })
  const gate = signal()
  const consumer = await bugle.consume('q', () => gate.promise, { concurrency: 1 })
  const notifications = await countNotifications(db)
  await bugle.putMany('q', [1, 2])
  await untilAwake(db, 'q')
  await notifications.settled()
  const counts: number[] = []
  for (let round = 0; round < 10; round += 1) {
    notifications.reset()
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let i = 0; i < 25; i += 1) await bugle.put('q', i)
      }),
    )
    await notifications.settled()
    counts.push(notifications.count)
  }
  // Whoever is taken off the processor in the middle of its test makes the others notify, and that is others' load: so
  // of the quieter half of the rounds, a thousand inserts.
  const quieter = counts.toSorted((a, b) => a - b).slice(0, 5)
  expect(quieter.reduce((sum, count) => sum + count)).toBeLessThanOrEqual(30)
  gate.resolve()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  await notifications.end()
})

test('B16 100,000 jobs put into a vacuumed, analysed, empty queue drain without one sequential scan', async ({
  db,
}) => {
  const bugle = db.bugle()
  // By a session that ends with it: the scans of making the indexes are counted then,
  // and not in the middle of this test.
  await db.sql.unsafe(`drop schema ${db.s} cascade`)
  await bugle.migrate()
  let runs = 0
  const count = (): void => {
    runs += 1
  }
  const consumer = await bugle.consume('q', count, { concurrency: 100 })
  await consumer.idle()
  // Statements are prepared and planned by now, for a table that is known to be empty.
  await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
  await bugle.put('q', 'once more, now that the statistics say so')
  await consumer.idle()
  const scans = async () =>
    (await db.sql`select seq_scan::int from pg_stat_user_tables where schemaname = ${db.schema} and relname = 'job'`)[0]
      ?.seq_scan
  await db.sql`select pg_stat_clear_snapshot()`
  const before = await scans()
  await db.sql.unsafe(
    `insert into ${db.s}.job (queue, payload) select 'q', to_jsonb(n) from generate_series(1, 100000) n`,
  )
  await consumer.idle()
  expect(runs).toBe(100_001)
  await bugle.close()
  expect(await scans()).toBe(before)
  expect(await db.jobs()).toEqual([])
})

test('B17 the role defaults to serializable, short time-outs, no index scans, another date style: all works', async ({
  db,
}) => {
  const role = `role_${db.schema.slice(5)}`
  await db.sql.unsafe(`create role ${role} superuser login`)
  const [{ version } = { version: 0 }] = await db.sql<{ version: number }[]>`
    select current_setting('server_version_num')::int as version`
  const settings = [
    'default_transaction_isolation = serializable',
    'statement_timeout = 50',
    'lock_timeout = 1',
    'idle_in_transaction_session_timeout = 50',
    ...(version >= 140_000 ? ['idle_session_timeout = 300'] : []),
    `datestyle = 'German'`,
    `search_path = nowhere`,
    'enable_indexscan = off',
    'enable_indexonlyscan = off',
    'enable_nestloop = off',
  ]
  for (const setting of settings) await db.sql.unsafe(`alter role ${role} set ${setting}`)
  const url = new URL(db.connectionString)
  url.username = role
  const bugle = db.bugle({ connectionString: url.href })
  const health = db.collect(bugle, 'listener:health')
  const errors = db.collect(bugle, 'claim:error')
  let ran = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => ran.resolve(job.createdAt.getFullYear()))
  expect((await health.next()).to).toBe('live')
  const year = new Date().getFullYear()
  for (let round = 0; round < 3; round += 1) {
    await consumer.idle()
    // Long enough for an idle session to be ended, if ours were.
    await db.sql`select pg_sleep(0.5)`
    ran = signal()
    await bugle.put('q', round)
    expect(await ran.promise).toBe(year)
  }
  expect(health.all.map(({ to }) => to)).toEqual(['live'])
  expect(errors.all).toEqual([])
  await bugle.close()
  await db.sql.unsafe(`drop role ${role}`)
})

test('a put by a session with the sleep lock in the way is not lost: K held exclusively by a stranger', async ({
  db,
}) => {
  const stranger = new pg.Client(db.connectionString)
  await stranger.connect()
  await stranger.query(`select pg_advisory_lock('${db.s}.job'::regclass::oid::int, hashtext('q'))`)
  const bugle = db.bugle()
  const unprotected = db.collect(bugle, 'consumer:unprotected')
  const ran = signal<unknown>()
  await bugle.consume('q', (job) => ran.resolve(job.payload))
  const { rows } = await stranger.query<{ pid: number }>('select pg_backend_pid() as pid')
  expect(await unprotected.next()).toEqual({ queue: 'q', reason: 'blocked', pid: rows[0]?.pid })
  await bugle.put('q', 'swept')
  expect(await ran.promise).toBe('swept')
  await stranger.end()
  // Tried again by itself once the stranger is gone.
  await untilAsleep(db, 'q')
})

test('operators that somebody has made in a schema of the writer’s search_path are not called by its inserts', async ({
  db,
}) => {
  const bugle = db.bugle()
  let ran = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => ran.resolve(job.payload))
  await untilSoundAsleep(db, consumer)
  const foreign = `"${db.schema}_foreign"`
  const operands = {
    '=': ['text', 'text'],
    '<>': [`${db.s}.job_state`, `${db.s}.job_state`],
    '>': ['timestamptz', 'timestamptz'],
    '+': ['timestamptz', 'interval'],
    '||': ['oid', 'oid'],
  }
  await db.sql.unsafe(`create schema ${foreign}`)
  for (const [index, [operator, [left, right]]] of Object.entries(operands).entries()) {
    await db.sql.unsafe(`
      create function ${foreign}.op${index}(${left}, ${right}) returns text language plpgsql as $$
      begin
        raise exception 'a stranger was called';
      end
      $$;
      create operator ${foreign}.${operator} (function = ${foreign}.op${index}, leftarg = ${left}, rightarg = ${right})
    `)
  }
  // First of all by its name, and last.
  for (const path of [`${foreign}, pg_catalog`, foreign]) {
    ran = signal()
    await db.sql.begin(async (tx) => {
      await tx.unsafe(`set local search_path = ${path}`)
      await tx.unsafe(`insert into ${db.s}.job (queue, payload) values ('q', to_jsonb($1::text))`, [path])
    })
    expect(await ran.promise).toBe(path)
    await untilSoundAsleep(db, consumer)
  }
  await db.sql.unsafe(`drop schema ${foreign} cascade`)
})
