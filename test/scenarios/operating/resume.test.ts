import { expect } from 'vitest'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { untilAsleep, untilAwake } from '../../support/sleepers.js'
import { fence, withoutHeartbeat } from '../../support/stopping.js'

const resumers: Record<string, (db: TestDatabase) => Promise<unknown>> = {
  'another instance': async (db) => expect(await db.bugle().resume('q')).toBe(true),
  'the SQL function': (db) => db.sql.unsafe(`select ${db.s}.resume('q')`),
  'an update of its row': (db) => db.sql.unsafe(`update ${db.s}.queue set paused_at = null where name = 'q'`),
  'the end of its row': (db) => db.sql.unsafe(`delete from ${db.s}.queue where name = 'q'`),
}
for (const [who, resume] of Object.entries(resumers)) {
  test(`pause: a resume by ${who} wakes its consumers at once, with neither sweeps nor heartbeats`, async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const ran = signal()
    await bugle.consume('q', () => ran.resolve())
    await untilAsleep(db, 'q')
    expect(await db.sql.unsafe(`select ${db.s}.pause('q') as changed`)).toEqual([{ changed: true }])
    await bugle.put('q', 1)
    await untilAwake(db, 'q')
    await resume(db)
    await ran.promise
    // Then the consumer sleeps under its lock again.
    await untilAsleep(db, 'q')
  })
}

test('pause: a resume whose notification was lost is found by the heartbeat', async ({ db }) => {
  await db.sql.unsafe(`alter table ${db.s}.queue disable trigger queue_resume`)
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  await bugle.pause('q')
  await bugle.put('q', 1)
  await untilAwake(db, 'q')
  await db.bugle().resume('q')
  await ran.promise
})

test('pause: of a queue that is resumed before its consumer has noticed anything every job runs', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const consumer = await bugle.consume('q', () => {})
  for (let round = 0; round < 20; round += 1) {
    const calls = [bugle.pause('q'), bugle.put('q', round), bugle.resume('q')]
    await Promise.all(round % 2 === 0 ? calls : calls.reverse())
  }
  await bugle.resume('q')
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('pause: a resume of the queue does not undo the pause of a consumer, nor the other way round', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload))
  await consumer.pause()
  await bugle.pause('q')
  await bugle.put('q', 1)
  await bugle.resume('q')
  await fence(db)
  expect(seen).toEqual([])
  await bugle.pause('q')
  consumer.resume()
  await fence(db)
  expect(seen).toEqual([])
  await bugle.resume('q')
  await consumer.idle()
  expect(seen).toEqual([1])
})

test('pause: with listen: false the sweeps find the resume', async ({ db }) => {
  const bugle = db.bugle({ listen: false })
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  await bugle.pause('q')
  await bugle.put('q', 1)
  await fence(db)
  expect(await db.jobs()).toMatchObject([{ state: 'ready', attempt: 0 }])
  await bugle.resume('q')
  await ran.promise
})
