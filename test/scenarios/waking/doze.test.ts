import { expect, onTestFinished, vi } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { signal, test } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { dozers, untilSoundAsleep } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

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
  const [row] = await db.sql.unsafe<{ channel: string }[]>(loadStatements(db.schema).channel)
  // As if others were faster each time.
  for (let wakeUps = 1; wakeUps <= 4; wakeUps += 1) {
    await db.sql`select pg_notify(${row?.channel ?? ''}, 'q')`
    await until(() => consumer.stats().wakeUps === wakeUps)
    await consumer.idle()
  }
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
