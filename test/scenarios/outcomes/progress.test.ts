import { expect } from 'vitest'
import { ack, type BugleError, partial, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { test } from '../../support/database.js'
import { fullRows, hasten } from '../../support/rows.js'
import { recordSettlings, waitOf } from '../../support/settlings.js'

test('D8 progress comes back on the next run; the run counts, and never exhausts the job', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const partials = db.collect(bugle, 'job:partial')
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const progresses = [{ page: 1 }, [2], 'three', 4, false, null]
  hasten(db, bugle)
  const consumer = await bugle.consume(
    'emails',
    ({ attempt, progress }) => {
      seen.push([attempt, progress])
      if (attempt > progresses.length) return ack()
      return partial(progresses[attempt - 1], attempt === 1 ? {} : { delayMs: attempt * 100 })
    },
    { retryStrategy: false },
  )
  const id = await bugle.put('emails', null, { maxAttempts: 2 })
  expect(await acked.next()).toMatchObject({ id, attempt: 7 })
  expect(seen).toEqual([null, ...progresses].map((progress, index) => [index + 1, progress]))
  const waits = [1000, 200, 300, 400, 500, 600]
  expect(await settlings(id)).toEqual(waits.map((ms) => waitOf(ms)))
  expect(partials.all.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6])
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('D8 progress outlives failed and released runs; steps that are done count where a later run fails', async ({
  db,
}) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  const seen: unknown[] = []
  const ends = [() => partial('half'), broken, () => release(), () => retry(), () => partial(undefined), broken]
  await bugle.consume(
    'emails',
    ({ attempt, progress }) => {
      seen.push([attempt, progress])
      return ends[seen.length - 1]?.()
    },
    { retryStrategy: { maxAttempts: 5 } },
  )
  await bugle.put('emails', null)
  // Five runs that count, and the strategy allows no more than five.
  expect(await failed.next()).toMatchObject({ attempt: 5, cause: 'exhausted' })
  expect(seen).toEqual([
    [1, null],
    [2, 'half'],
    [3, 'half'],
    [3, 'half'],
    [4, 'half'],
    [5, null],
  ])
})

test('D8 progress that cannot be stored fails the run with the cause invalid', async ({ db }) => {
  const bugle = db.bugle({ maxPayloadBytes: 100 })
  const failed = db.collect(bugle, 'job:failed')
  const progresses: unknown[] = [{ n: 1n }, () => {}, 'x'.repeat(100), 'a\0b']
  const consumer = await bugle.consume('emails', ({ payload }) => partial(progresses[payload as number]), {
    concurrency: 1,
  })
  await bugle.putMany('emails', [...progresses.keys()], { maxAttempts: 9 })
  await consumer.idle()
  expect(failed.all.map(({ cause, error }) => [cause, (error as BugleError).code])).toEqual([
    ['invalid', 'INVALID_PAYLOAD'],
    ['invalid', 'INVALID_PAYLOAD'],
    ['invalid', 'PAYLOAD_TOO_LARGE'],
    ['invalid', 'INVALID_PAYLOAD'],
  ])
  for (const row of await fullRows(db)) {
    expect(row).toMatchObject({
      state: 'failed',
      attempt: 1,
      progress: null,
      last_error: { failedBy: 'invalid', message: expect.stringMatching(/^progress/) },
    })
  }
})
