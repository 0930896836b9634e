import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { beforeALook, isOnTime } from '../../support/due-jobs.js'
import { fullRows } from '../../support/rows.js'
import { untilSoundAsleep } from '../../support/sleepers.js'

test('B8 a run_at moved by SQL to an earlier time, past or soon, wakes the consumer', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', async (job) => void seen.push([job.payload, await isOnTime(db, job)]))
  const ids = await bugle.putMany('q', ['past', 'soon', 'the next one'], { delayMs: 50_000 })
  const moments = [`now() - interval '1 hour'`, `clock_timestamp() + interval '80 ms'`]
  for (const [index, moment] of moments.entries()) {
    await untilSoundAsleep(db, consumer)
    await db.sql.unsafe(`update ${db.s}.job set run_at = ${moment} where id = $1`, [ids[index] ?? ''])
    expect(await acked.next()).toMatchObject({ id: ids[index] })
  }
  expect(seen).toEqual([
    ['past', true],
    ['soon', true],
  ])
  expect(await fullRows(db)).toMatchObject([{ id: ids[2], state: 'scheduled', attempt: 0 }])
  expect(sweeps).toEqual([])
})

test('B8 a run_at moved by SQL to a later time: the job waits for that', beforeALook, async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', async (job) => void seen.push([job.payload, await isOnTime(db, job)]))
  await untilSoundAsleep(db, consumer)
  await bugle.putMany('q', ['moved', 'marker'], (payload) => ({ delayMs: payload === 'moved' ? 100 : 200 }))
  await db.sql.unsafe(`update ${db.s}.job set run_at = run_at + interval '300 ms' where payload = '"moved"'`)
  await acked.next()
  await acked.next()
  expect(seen.sort()).toEqual([
    ['marker', true],
    ['moved', true],
  ])
})

test('B8 a ready row moved by SQL into the future is scheduled, and runs at its time', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  await bugle.putMany('q', ['moved', 'moved far'])
  await db.sql.unsafe(`update ${db.s}.job set run_at = clock_timestamp() + interval '300 ms' where payload = '"moved"'`)
  await db.sql.unsafe(`update ${db.s}.job set run_at = 'tomorrow' where payload = '"moved far"'`)
  expect((await fullRows(db)).map(({ state }) => state)).toEqual(['scheduled', 'scheduled'])
  const ran = signal<unknown>()
  const consumer = await bugle.consume('q', async (job) => ran.resolve([job.payload, await isOnTime(db, job)]))
  expect(await ran.promise).toEqual(['moved', true])
  await consumer.idle()
  expect(await fullRows(db)).toMatchObject([{ payload: 'moved far', state: 'scheduled', attempt: 0 }])
  expect(sweeps).toEqual([])
})
