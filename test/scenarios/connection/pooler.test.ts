import { expect } from 'vitest'
import type { Bugle, BugleOptions } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { findPgbouncer, startPgbouncer } from '../../support/pgbouncer.js'
import { until } from '../../support/until.js'

const program = await findPgbouncer()
const behindPooler = test.skipIf(program === null)

/** An instance whose queries go through pgbouncer in transaction mode, and what it tells the operator. */
async function behindPgbouncer(
  db: TestDatabase,
  options: BugleOptions,
  settings: Readonly<Record<string, string>>,
  work: (bugle: Bugle, warnings: string[]) => Promise<void>,
): Promise<void> {
  const pooler = await startPgbouncer(program ?? '', db.connectionString, settings)
  const warnings: string[] = []
  const logger = { info: () => {}, warn: (line: string) => warnings.push(line), error: () => {} }
  const bugle = db.bugle({ connectionString: pooler.connectionString, prepare: false, logger, ...options })
  try {
    await work(bugle, warnings)
    await bugle.close()
  } finally {
    await pooler.stop()
  }
}

behindPooler('through pgbouncer, with a direct connection to listen by: pushed, cancelled, present', async ({ db }) => {
  // A heartbeat would find the cancel too, but not within this test.
  const options = { listenConnectionString: db.connectionString, rescueAfterMs: 600_000, hungAfterMs: 600_000 }
  await behindPgbouncer(db, options, {}, async (bugle, warnings) => {
    const health = db.collect(bugle, 'listener:health')
    const ran = signal<unknown>()
    const begun = signal()
    const aborted = signal<string>()
    const consumer = await bugle.consume('q', async (job, { signal: abort }) => {
      if (job.payload !== 'long') return ran.resolve(job.payload)
      abort.addEventListener('abort', () => aborted.resolve(abort.reason.code))
      begun.resolve()
      await aborted.promise
      throw abort.reason
    })
    while ((await health.next()).to !== 'live');
    await consumer.idle()
    // Sweeps are off: only a notification can wake it.
    await bugle.put('q', { nested: ['text', 1, null] })
    expect(await ran.promise).toEqual({ nested: ['text', 1, null] })

    const failed = db.collect(bugle, 'job:failed')
    const id = await bugle.put('q', 'long')
    await begun.promise
    expect(await bugle.cancel(id)).toBe('requested')
    expect(await aborted.promise).toBe('CANCELLED')
    expect(await failed.next()).toMatchObject({ id, cause: 'cancelled' })

    // The lock is on the direct session, which no other client is ever given.
    const control = await db.backends('control')
    const locks = async () =>
      db.sql.unsafe<{ pid: number }[]>(
        `select pid from pg_locks
       where locktype = 'advisory' and mode = 'ShareLock' and granted
         and classid = '${db.s}.worker'::regclass and objid = (hashint8(${bugle.workerId})::bigint & 4294967295)::oid`,
      )
    await until(async () => (await locks()).length > 0)
    expect((await locks()).map(({ pid }) => pid)).toEqual(control)
    expect(warnings).toEqual([])
  })
})

/** How a pooler without a direct way beside it meets us. */
const ways: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'refuses start-up options': {},
  'swallows LISTEN': { ignore_startup_parameters: 'extra_float_digits,options' },
}
for (const [way, settings] of Object.entries(ways)) {
  behindPooler(
    `without a direct connection, a pooler that ${way} is told of once, and jobs run by sweeps`,
    async ({ db }) => {
      await behindPgbouncer(db, {}, settings, async (bugle, warnings) => {
        const health = db.collect(bugle, 'listener:health')
        const runs: unknown[] = []
        let ran = signal()
        await bugle.consume('q', (job) => {
          runs.push(job.payload)
          ran.resolve()
        })
        expect(await health.next()).toMatchObject({ from: 'connecting', to: 'polling' })
        const ofPooler = () => warnings.filter((line) => line.includes('listenConnectionString'))
        for (const n of [1, 2, 3, 4]) {
          await bugle.put('q', n)
          await ran.promise
          ran = signal()
        }
        expect(runs).toEqual([1, 2, 3, 4])
        // Meanwhile it has tried again: four sweeps take longer than that.
        expect(ofPooler()).toEqual([expect.stringMatching(/pooler.*listenConnectionString.*sweeps, every second/)])
        // No session lock was taken through the pooler: it would be another client's next.
        expect(
          await db.sql`select from pg_locks where locktype = 'advisory' and database =
        (select oid from pg_database where datname = current_database()) and classid = ${`${db.s}.worker`}::regclass`,
        ).toEqual([])
        await bugle.close()
        expect(await db.jobs()).toEqual([])
        expect(await db.sql.unsafe(`select from ${db.s}.worker`)).toEqual([])
      })
    },
  )
}
