import { setImmediate as nextRound } from 'node:timers/promises'
import { expect, onTestFinished } from 'vitest'
import type { Bugle } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { at } from '../../support/held-proxy.js'
import { resetNow } from '../../support/pool.js'
import { startProxy } from '../../support/proxy.js'

/** Between the reset of a connection and the next statement. */
const moments = {
  'in the same turn': async () => {},
  'after the turn': () => new Promise<void>((resolve) => process.nextTick(resolve)),
  'in the next round': () => nextRound(),
} as const

/** An instance whose pools go through a proxy; its listener and its control session go past it. */
async function throughProxy(db: TestDatabase): Promise<{ bugle: Bugle; reset: () => void }> {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const bugle = db.bugle({
    connectionString: at(db, proxy.port),
    listenConnectionString: db.connectionString,
    poolSize: 2,
  })
  return { bugle, reset: () => resetNow(proxy.port) }
}

for (const [when, wait] of Object.entries(moments)) {
  test(`an outcome is written when it is reported, and its job runs once: connections reset ${when}`, async ({
    db,
  }) => {
    const { bugle, reset } = await throughProxy(db)
    const acked = db.collect(bugle, 'job:acked')
    const runs: string[] = []
    const consumer = await bugle.consume(
      'q',
      async (job) => {
        runs.push(job.id)
        reset()
        await wait()
      },
      { concurrency: 1 },
    )
    const ids: string[] = []
    for (let turn = 0; turn < 15; turn += 1) {
      const [row] = await db.sql.unsafe<{ id: string }[]>(`insert into ${db.s}.job (queue) values ('q') returning id`)
      ids.push(row?.id ?? '')
      expect(await acked.next()).toMatchObject({ id: row?.id, attempt: 1 })
      expect(await db.jobs()).toEqual([])
    }
    await consumer.stop()
    expect(runs).toEqual(ids)
  })
}

/** Without those that only make connections open. */
const jobsOf = async (db: TestDatabase) => (await db.jobs()).filter(({ queue }) => queue === 'q')

/** Each is asked right after a reset, and then held against the rows. */
const calls: Record<string, (bugle: Bugle, db: TestDatabase, afterReset: () => Promise<void>) => Promise<void>> = {
  async put(bugle, db, afterReset) {
    await afterReset()
    const id = await bugle.put('q', 1)
    expect(await jobsOf(db)).toMatchObject([{ id }])
  },
  async 'put a long payload'(bugle, db, afterReset) {
    const payload = 'x'.repeat(5_000)
    await afterReset()
    const id = await bugle.put('q', payload)
    expect(await jobsOf(db)).toMatchObject([{ id, payload }])
  },
  async cancel(bugle, db, afterReset) {
    const id = await bugle.put('q', 1)
    await afterReset()
    expect(await bugle.cancel(id)).toBe('cancelled')
    expect(await jobsOf(db)).toMatchObject([{ id, state: 'failed' }])
  },
  async job(bugle, _db, afterReset) {
    const id = await bugle.put('q', 1)
    await afterReset()
    expect(await bugle.job(id)).toMatchObject({ id })
  },
  async requeue(bugle, db, afterReset) {
    const id = await bugle.put('q', 1)
    await bugle.cancel(id)
    await afterReset()
    expect(await bugle.requeue(id)).toBe(1)
    expect(await jobsOf(db)).toMatchObject([{ id, state: 'ready' }])
  },
  async pause(bugle, db, afterReset) {
    await afterReset()
    expect(await bugle.pause('q')).toBe(true)
    expect(await db.sql.unsafe(`select name from ${db.s}.queue where paused_at is not null`)).toEqual([{ name: 'q' }])
    await afterReset()
    expect(await bugle.resume('q')).toBe(true)
    expect(await db.sql.unsafe(`select name from ${db.s}.queue where paused_at is not null`)).toEqual([])
  },
  async collect(bugle, db, afterReset) {
    await db.sql.unsafe(`insert into ${db.s}.job (queue, state, finished_at) values ('q', 'failed', '2000-01-01')`)
    await afterReset()
    expect(await bugle.collect({ failedOlderThanMs: 1 })).toEqual({ failed: 1, archived: 0 })
    expect(await jobsOf(db)).toEqual([])
  },
}

for (const [name, call] of Object.entries(calls)) {
  test(`${name} says what is written, whenever it comes after a reset of its connections`, async ({ db }) => {
    const { bugle, reset } = await throughProxy(db)
    // An operator's calls have two connections, puts have one.
    const others = () => Promise.all([bugle.job('1'), bugle.job('1'), bugle.put('other', 1)])
    for (const wait of [...Object.values(moments), ...Object.values(moments)]) {
      await others()
      await db.sql.unsafe(`truncate ${db.s}.job`)
      const after: Promise<unknown>[] = []
      await call(bugle, db, async () => {
        await nextRound()
        reset()
        await wait()
        // Behind the call: a connection that is used again logs in for them.
        setImmediate(() => after.push(others().catch(() => {})))
      })
      await Promise.all(after)
    }
  })
}
