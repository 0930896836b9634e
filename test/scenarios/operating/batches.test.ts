import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

async function failedJobs(db: TestDatabase, count: number): Promise<string[]> {
  const ids = await db.bugle().putMany(
    'q',
    Array.from({ length: count }, () => 1),
  )
  await db.sql.unsafe(
    `update ${db.s}.job
     set state = 'failed', finished_at = now() - interval '2 days',
       last_error = jsonb_build_object('at', 0, 'failedBy', 'rejected')`,
  )
  return ids
}

test('requeue by filter tells its progress, and an aborted signal ends it after the batch in flight', async ({
  db,
}) => {
  await failedJobs(db, 2_500)
  const bugle = db.bugle()
  const told: number[] = []
  const stop = new AbortController()
  const requeued = await bugle.requeue(
    { queue: 'q' },
    {
      signal: stop.signal,
      onProgress(total) {
        told.push(total)
        if (total === 2_000) stop.abort()
      },
    },
  )
  expect(requeued).toBe(2_000)
  expect(told).toEqual([1_000, 2_000])
  expect(await bugle.requeue({}, { signal: stop.signal })).toBe(0)
  expect(await bugle.requeue({}, { onProgress: (total) => told.push(total) })).toBe(500)
  expect(told).toEqual([1_000, 2_000, 500])
})

test('requeue by ids is one batch, or none where the signal is aborted', async ({ db }) => {
  const ids = await failedJobs(db, 2)
  const bugle = db.bugle()
  const told: number[] = []
  expect(await bugle.requeue(ids, { signal: AbortSignal.abort() })).toBe(0)
  expect(await bugle.requeue(ids, { onProgress: (total) => told.push(total) })).toBe(2)
  expect(told).toEqual([2])
})

test('collect tells its progress, and an aborted signal ends it after the batch in flight', async ({ db }) => {
  await failedJobs(db, 2_500)
  const told: number[] = []
  const stop = new AbortController()
  const report = await db.bugle().collect({
    failedOlderThanMs: 0,
    archivedOlderThanMs: 0,
    signal: stop.signal,
    onProgress(total) {
      told.push(total)
      if (total === 2_000) stop.abort()
    },
  })
  expect(report).toEqual({ failed: 2_000, archived: 0 })
  expect(told).toEqual([1_000, 2_000])
  expect(await db.jobs()).toHaveLength(500)
})

test('a collect that waits for its turn ends when its signal aborts', async ({ db }) => {
  await failedJobs(db, 1)
  const stop = new AbortController()
  const bugle = db.bugle()
  const holder = db.connect()
  await holder.unsafe(`select pg_advisory_lock('${db.s}.archive'::regclass::oid::int, 0)`)
  const collecting = bugle.collect({ failedOlderThanMs: 0, signal: stop.signal })
  stop.abort()
  expect(await collecting).toEqual({ failed: 0, archived: 0 })
  expect(await db.jobs()).toHaveLength(1)
})

test('what onProgress throws ends the call; wrong options are refused', async ({ db }) => {
  await failedJobs(db, 1_001)
  const bugle = db.bugle()
  const onProgress = () => {
    throw new Error('enough')
  }
  await expect(bugle.requeue({}, { onProgress })).rejects.toThrow('enough')
  expect((await db.jobs()).filter(({ state }) => state === 'ready')).toHaveLength(1_000)
  for (const options of [{ signal: 1 }, { onProgress: 1 }, { limit: 1 }]) {
    expect(await refusal(() => bugle.requeue({}, options as never))).toMatchObject({ code: 'INVALID_OPTION' })
  }
  expect(await refusal(() => bugle.collect({ failedOlderThanMs: 1, signal: 1 as never }))).toMatchObject({
    code: 'INVALID_OPTION',
  })
})
