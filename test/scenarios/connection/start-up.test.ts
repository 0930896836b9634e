import { expect, onTestFinished } from 'vitest'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { startRounds } from '../../support/rounds.js'

async function roundsTo(db: TestDatabase) {
  const { hostname, port } = new URL(db.connectionString)
  const rounds = await startRounds({ host: hostname, port: Number(port) })
  onTestFinished(() => rounds.close())
  const through = new URL(db.connectionString)
  through.hostname = '127.0.0.1'
  through.port = String(rounds.port)
  return { rounds, connectionString: through.href }
}

test('start: consume() has listened, and claimed what was there, after 16 round trips', async ({ db }) => {
  const { rounds, connectionString } = await roundsTo(db)
  await db.bugle().put('q', 'was there')
  const ran = signal<unknown>()
  // No heartbeat comes between.
  const bugle = db.bugle({ connectionString, rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000 })
  const consumer = await bugle.consume('q', ({ payload }) => ran.resolve(payload))
  console.log(`start: ${rounds.count} round trips`)
  expect(rounds.count).toBeLessThanOrEqual(16)
  expect(await ran.promise).toBe('was there')
  await consumer.idle()
  expect((await bugle.health()).listener).toBe('live')
  // A listener, a control session, and one connection of the pool.
  expect([(await db.backends('listener')).length, (await db.backends('control')).length]).toEqual([1, 1])
  expect(await db.jobs()).toEqual([])
})

test('start: a put needs 9 round trips, and the next one 1', async ({ db }) => {
  const { rounds, connectionString } = await roundsTo(db)
  const bugle = db.bugle({ connectionString })
  await bugle.put('q', 1)
  console.log(`start: ${rounds.count} round trips of a put`)
  expect(rounds.count).toBeLessThanOrEqual(9)
  const before = rounds.count
  await bugle.put('q', 2)
  expect(rounds.count - before).toBe(1)
})
