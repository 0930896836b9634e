import { expect, onTestFinished, vi } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import type { Consumer } from '../../../src/index.js'
import { callOf } from '../../../src/worker/call.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { dozers, untilSoundAsleep, watchNotifications } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

/** A consumer that sleeps and will be no reserve: of those that doze two come before it (doze.sql has their order). */
async function sleeperBehindTwo(db: TestDatabase, handler: () => void): Promise<Consumer> {
  for (;;) {
    const consumer = await db.bugle().consume('q', handler)
    await untilSoundAsleep(db, consumer)
    const [pid = 0] = await db.backends('control')
    const before = await db.sql.unsafe(
      `select from pg_locks
      where locktype = 'advisory' and objsubid = 2 and granted and classid = '${db.s}.queue'::regclass
        and hashint4(pid) < hashint4(${pid})`,
    )
    if (before.length >= 2) return consumer
    await consumer.stop()
  }
}

/** As if others were faster each time. */
async function wakeForNothing(db: TestDatabase, consumer: Consumer): Promise<void> {
  const [row] = await db.sql.unsafe<{ channel: string }[]>(loadStatements(db.schema).channel)
  const before = consumer.stats().wakeUps
  for (let wakeUps = before + 1; wakeUps <= before + 4; wakeUps += 1) {
    await db.sql`select pg_notify(${row?.channel ?? ''}, 'q')`
    await until(() => consumer.stats().wakeUps === wakeUps)
    await consumer.idle()
  }
}

test('fleet: one that dozes counts the others again in a long wait, and no job waits for those that are gone', async ({
  db,
}) => {
  const lines = debugLines('bugle:doze')
  const counts = (): number[] => lines.flatMap((line) => Number(/(\d+) others doze/.exec(line)?.[1] ?? []))
  // The longest wait that can be drawn. It lasts longer than the time until the next count.
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.99)
  onTestFinished(() => random.mockRestore())
  const end = await dozers(db, 'q', 8)
  const ran = signal()
  const consumer = await sleeperBehindTwo(db, () => ran.resolve())
  await wakeForNothing(db, consumer)
  await until(() => counts().length > 0)
  await end()
  await db.bugle().put('q', 'for whoever is left')
  await ran.promise
  // Heartbeats count as well, whenever they come: some of the eight may be gone by then, and the wait is shorter.
  expect(counts()[0]).toBe(8)
  expect(counts().at(-1)).toBeLessThan(8)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('fleet: one that dozes and takes one job at a time calls the others where more are ready, and only there', async ({
  db,
}) => {
  const lines = debugLines('bugle:doze')
  // The shortest waits.
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.01)
  onTestFinished(() => random.mockRestore())
  await dozers(db, 'q', 8)
  let go = signal()
  const consumer = await db.bugle().consume('q', () => go.promise, { concurrency: 1 })
  const notified = await watchNotifications(db)
  const calls = async (): Promise<number> => (await notified()).filter((payload) => payload === callOf('q')).length
  for (const { jobs, called } of [
    { jobs: 2, called: 1 },
    { jobs: 1, called: 0 },
  ]) {
    go = signal()
    await untilSoundAsleep(db, consumer)
    lines.splice(0)
    await wakeForNothing(db, consumer)
    await until(() => lines.some((line) => line.includes('8 others doze')))
    const before = await calls()
    const { completed } = consumer.stats()
    await db.bugle().putMany('q', Array(jobs).fill('for the fleet'))
    if (called > 0) await until(async () => (await calls()) === before + called)
    go.resolve()
    // Its look goes before the claims that come after it.
    await until(() => consumer.stats().completed === completed + jobs)
    await consumer.idle()
    expect((await calls()) - before).toBe(called)
  }
  expect(await db.jobs()).toEqual([])
})
