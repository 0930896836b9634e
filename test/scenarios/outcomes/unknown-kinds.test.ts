import { expect } from 'vitest'
import type { BugleError, Job } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { fullRows } from '../../support/rows.js'
import { untilAsleep } from '../../support/sleepers.js'

test('D5 jobs of other kinds, and of none, are left for a consumer that has a handler', async ({ db }) => {
  const first = db.bugle()
  const second = db.bugle()
  const seen: unknown[] = []
  const see = (who: string) => (job: Job) => void seen.push([who, job.kind, job.payload])
  const bugle = db.bugle()
  await bugle.putMany('media', ['thumb', 'probe', null], (kind) => (kind === null ? {} : { kind: kind as string }))
  const thumbs = await first.consume('media', { thumb: see('first'), crop: see('first') })
  await thumbs.idle()
  expect(seen).toEqual([['first', 'thumb', 'thumb']])
  const waiting = { state: 'ready', attempt: 0, lease: '0', last_error: null }
  expect(await fullRows(db)).toMatchObject([
    { kind: 'probe', ...waiting },
    { kind: null, ...waiting },
  ])
  const probes = await second.consume('media', { probe: see('second') })
  await probes.idle()
  // Both asleep: a job wakes the one that has a handler, and is not lost by waking the other.
  for (const [round, kind] of ['probe', 'thumb', 'probe', 'crop'].entries()) {
    await untilAsleep(db, 'media', 2)
    const acked = signal()
    for (const each of [first, second]) each.once('job:acked', () => acked.resolve())
    await bugle.put('media', round, { kind })
    await acked.promise
  }
  await Promise.all([thumbs.idle(), probes.idle()])
  expect(seen.slice(1)).toEqual([
    ['second', 'probe', 'probe'],
    ['second', 'probe', 0],
    ['first', 'thumb', 1],
    ['second', 'probe', 2],
    ['first', 'crop', 3],
  ])
  expect(await fullRows(db)).toMatchObject([{ kind: null, ...waiting }])
  // A function takes whatever there is.
  await probes.stop()
  await bugle.put('media', 'left', { kind: 'probe' })
  const all = await second.consume('media', see('all'), { concurrency: 1 })
  await all.idle()
  expect(seen.slice(6)).toEqual([
    ['all', null, null],
    ['all', 'probe', 'left'],
  ])
  expect(await db.jobs()).toEqual([])
})

test("D5 with unknownKinds: 'fail' a job without a handler fails at once, whatever the retries", async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const asked: unknown[] = []
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'media',
    { thumb: (job) => void seen.push(job.payload) },
    {
      unknownKinds: 'fail',
      concurrency: 1,
      retryStrategy: (job) => {
        asked.push(job.id)
        return { maxAttempts: 6 }
      },
    },
  )
  const names = ['probe', 'thumb', 'toString', '__proto__', 'none']
  const ids = await bugle.putMany('media', names, (kind) =>
    kind === 'none' ? { maxAttempts: 9 } : { kind: kind as string, maxAttempts: 9 },
  )
  await consumer.idle()
  expect(seen).toEqual(['thumb'])
  expect(asked).toEqual([])
  expect(
    (await fullRows(db)).map(({ kind, state, attempt, last_error }) => [kind, state, attempt, last_error]),
  ).toEqual(
    ['probe', 'toString', '__proto__', null].map((kind) => [
      kind,
      'failed',
      1,
      expect.objectContaining({ code: 'NO_HANDLER', failedBy: 'no-handler', attempt: 1 }),
    ]),
  )
  expect(failed.all.map(({ id, cause, error }) => [id, cause, (error as BugleError).code, error.message])).toEqual([
    [ids[0], 'no-handler', 'NO_HANDLER', 'no handler for the kind "probe" in the queue "media"'],
    [ids[2], 'no-handler', 'NO_HANDLER', 'no handler for the kind "toString" in the queue "media"'],
    [ids[3], 'no-handler', 'NO_HANDLER', 'no handler for the kind "__proto__" in the queue "media"'],
    [ids[4], 'no-handler', 'NO_HANDLER', 'no handler for jobs without a kind in the queue "media"'],
  ])
})
