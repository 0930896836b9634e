import pg from 'pg'
import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { findPgbouncer, startPgbouncer } from '../../support/pgbouncer.js'
import { until } from '../../support/until.js'

const program = await findPgbouncer()
const behindPooler = test.skipIf(program === null)

behindPooler(
  'pgbouncer in session mode is a way to everything: pushed, present, asleep under its lock',
  async ({ db }) => {
    const pooler = await startPgbouncer(program ?? '', db.connectionString, { pool_mode: 'session' })
    try {
      const bugle = db.bugle({ connectionString: pooler.connectionString })
      const health = db.collect(bugle, 'listener:health')
      const unprotected = db.collect(bugle, 'consumer:unprotected')
      let ran = signal<unknown>()
      // Somebody is in the way of the sleep lock: the control session waits for a second, as its settings say.
      const stranger = new pg.Client(db.connectionString)
      await stranger.connect()
      await stranger.query(`select pg_advisory_lock('${db.s}.job'::regclass::oid::int, hashtext('q'))`)
      const consumer = await bugle.consume('q', (job) => ran.resolve(job.payload))
      expect((await health.next()).to).toBe('live')
      expect(await unprotected.next()).toMatchObject({ queue: 'q', reason: 'blocked' })
      await stranger.end()
      const asleep = () => db.sql`
      select from pg_locks
      where locktype = 'advisory' and mode = 'ShareLock' and granted
        and classid = ${`${db.s}.job`}::regclass and objid = (hashtext('q')::bigint & 4294967295)::oid`
      await until(async () => (await asleep()).length === 1)
      // Sweeps are off: only a notification can wake it.
      await bugle.put('q', 'pushed')
      expect(await ran.promise).toBe('pushed')
      ran = signal()
      await consumer.idle()
      await until(async () => (await asleep()).length === 1)
      await db.sql.unsafe(`select ${db.s}.put('q', '"from psql"')`)
      expect(await ran.promise).toBe('from psql')
      await bugle.close()
      expect(health.all.map(({ to }) => to)).toEqual(['live', 'stopped'])
      expect(await db.jobs()).toEqual([])
    } finally {
      await pooler.stop()
    }
  },
)

behindPooler('statements that a pooler sends where they were not prepared: each put is one job', async ({ db }) => {
  const role = `role_${db.schema.slice(5)}`
  await db.sql.unsafe(`create role ${role} superuser login`)
  // Its sessions look as if they had our settings: nothing shows the pooler.
  await db.sql.unsafe(`alter role ${role} set plan_cache_mode = force_generic_plan`)
  const target = new URL(db.connectionString)
  target.username = role
  const pooler = await startPgbouncer(program ?? '', target.href, {
    ignore_startup_parameters: 'extra_float_digits, options',
    server_round_robin: '1',
    min_pool_size: '4',
  })
  try {
    const bugle = db.bugle({ connectionString: pooler.connectionString, listenConnectionString: db.connectionString })
    const errors = db.collect(bugle, 'claim:error')
    const payloads = Array.from({ length: 60 }, (_, index) => index)
    // Many at once, on several connections; then one after the other, each on the next connection.
    const ids = await Promise.all(payloads.slice(0, 40).map((n) => bugle.put('q', n)))
    for (const n of payloads.slice(40)) ids.push(await bugle.put('q', n))
    const jobs = await db.jobs()
    expect(jobs.map(({ id }) => id)).toEqual(ids.sort((a, b) => Number(a) - Number(b)))
    expect(jobs.map(({ payload }) => payload).sort((a, b) => Number(a) - Number(b))).toEqual(payloads)
    const seen: unknown[] = []
    await bugle.drain('q', (job) => void seen.push(job.payload))
    expect(seen.sort((a, b) => Number(a) - Number(b))).toEqual(payloads)
    expect(errors.all).toEqual([])
    expect(await db.jobs()).toEqual([])
    await bugle.close()
  } finally {
    await pooler.stop()
    await db.sql.unsafe(`drop role ${role}`)
  }
})
