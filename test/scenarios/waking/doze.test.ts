import { expect, onTestFinished, vi } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import type { Consumer } from '../../../src/index.js'
import { callOf } from '../../../src/worker/call.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { dozers, untilSoundAsleep, watchNotifications } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

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
  const bugle = db.bugle()
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve())
  await untilSoundAsleep(db, consumer)
  await wakeForNothing(db, consumer)
  await until(() => counts().length > 0)
  await end()
  await bugle.put('q', 'for whoever is left')
  await ran.promise
  // Heartbeats count as well, whenever they come: some of the eight may be gone by then. Few enough end the doze.
  expect(counts()[0]).toBe(8)
  expect(counts().at(-1)).toBeLessThanOrEqual(3)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('fleet: one that dozes and takes one job at a time calls the others where more jobs are ready, and only there', async ({
  db,
}) => {
  const lines = debugLines('bugle:doze')
  // The shortest waits.
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.01)
  onTestFinished(() => random.mockRestore())
  await dozers(db, 'q', 8)
  const consumer = await db.bugle().consume('q', () => {}, { concurrency: 1 })
  const notified = await watchNotifications(db)
  for (const [jobs, calls] of [
    [2, 1],
    [1, 0],
  ] as const) {
    await untilSoundAsleep(db, consumer)
    lines.splice(0)
    await wakeForNothing(db, consumer)
    await until(() => lines.some((line) => line.includes('8 others doze')))
    const before = (await notified()).length
    await db.bugle().putMany('q', Array(jobs).fill('for the fleet'))
    // Its look and its call go before the claims that come after them.
    await until(() => consumer.stats().completed === (jobs === 2 ? 2 : 3))
    await consumer.idle()
    expect((await notified()).slice(before).filter((payload) => payload === callOf('q'))).toHaveLength(calls)
  }
  expect(await db.jobs()).toEqual([])
})
