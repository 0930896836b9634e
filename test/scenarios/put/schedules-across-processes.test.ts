import { expect } from 'vitest'
import { type Job, partial, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { beforeALook, countPromotions, isOnTime } from '../../support/due-jobs.js'
import { test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'
import { untilAsleep, untilSoundAsleep, watchNotifications } from '../../support/sleepers.js'

/** Inserts scheduled rows without a notification, as a replica does, or a session with its triggers off. */
async function scheduleSilently(db: TestDatabase, queue: string, count: number, inMs: number): Promise<void> {
  await db.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx.unsafe(
      `insert into ${db.s}.job (queue, payload, state, run_at)
       select $1, to_jsonb(n), 'scheduled', clock_timestamp() + $2 * interval '1 ms' from generate_series(1, $3) as n`,
      [queue, inMs, count],
    )
  })
}

test(
  'B8 more jobs are due than there are slots: another process that sleeps is woken for them',
  beforeALook,
  async ({ db, gate }) => {
    const sweeps = debugLines('bugle:sweep')
    const blocked = gate()
    const seen = { first: 0, second: 0 }
    const enough = signal()
    const second = await db.bugle().consume('q', () => {
      seen.second += 1
      if (seen.second === 3) enough.resolve()
    })
    // It knows of nothing that is scheduled, and nobody tells it: only a job made ready can wake it.
    await untilSoundAsleep(db, second)
    const notified = await watchNotifications(db)
    await scheduleSilently(db, 'q', 5, 300)
    const first = await db.bugle().consume(
      'q',
      async () => {
        seen.first += 1
        await blocked.promise
      },
      { concurrency: 2 },
    )
    await enough.promise
    await second.idle()
    // Made ready in one statement, so one notification.
    expect(await notified()).toEqual(['q'])
    blocked.resolve()
    await first.idle()
    // Who is faster gets more of them; the first has slots for two.
    expect(seen.first + seen.second).toBe(5)
    expect(await db.jobs()).toEqual([])
    expect(sweeps).toEqual([])
  },
)

for (const concurrency of [1, 10]) {
  test(
    `B8 a due job of which one process of two knows, with ${concurrency} slots: ` +
      'it is made ready once, and runs once, in time',
    beforeALook,
    async ({ db }) => {
      const dueLines = debugLines('bugle:due')
      const runs: unknown[] = []
      const ran = signal()
      const handler = async (job: Job): Promise<void> => {
        runs.push([job.id, job.attempt, await isOnTime(db, job)])
        ran.resolve()
      }
      const sleeper = await db.bugle().consume('q', handler)
      const consumer = await db.bugle().consume('q', handler, { concurrency })
      await untilSoundAsleep(db, sleeper, consumer)
      const notified = await watchNotifications(db)
      await scheduleSilently(db, 'q', 1, 250)
      const [due] = await fullRows(db)
      // Made to look, and so one of them knows; and sleeps until it is due.
      await consumer.idle()
      await ran.promise
      await Promise.all([sleeper.idle(), consumer.idle()])
      // A stop waits for a promotion in flight.
      await Promise.all([sleeper.stop(), consumer.stop()])
      expect(runs).toEqual([[due?.id, 1, true]])
      // Both sleep when it is made ready: who is faster runs it.
      expect(await notified()).toEqual(['q'])
      expect(dueLines).toEqual([expect.stringContaining('1 due jobs are ready')])
      expect(await db.jobs()).toEqual([])
    },
  )
}

test(
  'B8 two processes wait for the same job: it is made ready once, by a few statements, and runs once, in time',
  beforeALook,
  async ({ db }) => {
    const dueLines = debugLines('bugle:due')
    const promotions = await countPromotions(db)
    const runs: unknown[] = []
    const ran = signal()
    const consumers = await Promise.all(
      [db.bugle(), db.bugle()].map((bugle) =>
        bugle.consume(
          'q',
          async (job) => {
            runs.push([job.id, job.attempt, await isOnTime(db, job)])
            ran.resolve()
          },
          { concurrency: 1 },
        ),
      ),
    )
    await untilSoundAsleep(db, ...consumers)
    const notified = await watchNotifications(db)
    const id = await db.bugle().put('q', null, { delayMs: 250 })
    await ran.promise
    await Promise.all(consumers.map((consumer) => consumer.idle()))
    await Promise.all(consumers.map((consumer) => consumer.stop()))
    expect(runs).toEqual([[id, 1, true]])
    // That of the put, so that both could set their timers; and that of the promotion.
    expect(await notified()).toEqual(['q', 'q'])
    expect(dueLines).toEqual([expect.stringContaining('1 due jobs are ready')])
    // Each has a timer for it; and looks once more where it was early, or found the row locked.
    expect(await promotions()).toBeLessThanOrEqual(6)
    expect(await db.jobs()).toEqual([])
  },
)

/** How a run ends whose job goes back to its queue. Another process runs the job next. */
const backToQueue: Record<string, (delayMs: number) => unknown> = {
  'a throw': broken,
  'retry()': (delayMs) => retry({ delayMs }),
  'release()': (delayMs) => release({ delayMs }),
  'partial()': (delayMs) => partial('half', { delayMs }),
}

for (const [what, end] of Object.entries(backToQueue)) {
  for (const delayMs of [0, 150]) {
    const when = delayMs === 0 ? 'at once' : `after ${delayMs} ms`
    test(
      `B9 ${what} in a process that stops wakes another that sleeps, which runs the job ${when}`,
      beforeALook,
      async ({ db, gate }) => {
        const sweeps = debugLines('bugle:sweep')
        const first = db.bugle()
        const begun = signal()
        const blocked = gate()
        const stopping = await first.consume(
          'q',
          async () => {
            begun.resolve()
            await blocked.promise
            return end(delayMs)
          },
          { concurrency: 1, retryStrategy: { maxAttempts: 2, delaysMs: delayMs } },
        )
        const id = await first.put('q', null)
        await begun.promise
        const ran = signal<unknown>()
        const other = await db.bugle().consume('q', async (job) => {
          ran.resolve([job.id, job.attempt, job.progress, await isOnTime(db, job)])
        })
        // The first has no free slot, so this is the other one.
        await untilAsleep(db, 'q')
        const notified = await watchNotifications(db)
        const stopped = stopping.stop()
        blocked.resolve()
        await stopped
        const attempt = what === 'release()' ? 1 : 2
        expect(await ran.promise).toEqual([id, attempt, what === 'partial()' ? 'half' : null, true])
        await other.idle()
        // When it goes back; and if it waits, when it is made ready.
        expect(await notified()).toEqual(delayMs === 0 ? ['q'] : ['q', 'q'])
        expect(await db.jobs()).toEqual([])
        expect(sweeps).toEqual([])
      },
    )
  }
}
