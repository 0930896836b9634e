import { expect } from 'vitest'
import { reject } from '../../../src/index.js'
import { together } from '../../support/barrier.js'
import { test } from '../../support/database.js'

test('F9 error texts with NUL and lone surrogates are stored, and the others of the batch are settled', async ({
  db,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const all = together(9)
  const consumer = await bugle.consume(
    'emails',
    async ({ payload }) => {
      await all()
      if (payload === 1) throw new Error('nul \0')
      if (payload === 2) throw `surrogate \ud800`
      if (payload === 3) return reject('reason \udfff\0')
      if (payload === 4) throw Object.assign(new Error('x'), { code: '\0', name: '\ud800', stack: 'at \0' })
    },
    { concurrency: 9, retryStrategy: false },
  )
  await bugle.putMany('emails', [0, 1, 2, 3, 4, 5, 6, 7, 8])
  await consumer.idle()
  expect(acked.all).toHaveLength(5)
  const rows = await db.jobs()
  expect(rows.map(({ payload, state, last_error }) => [payload, state, last_error?.message])).toEqual([
    [1, 'failed', 'nul \uFFFD'],
    [2, 'failed', 'surrogate \uFFFD'],
    [3, 'failed', 'reason \uFFFD\uFFFD'],
    [4, 'failed', 'x'],
  ])
})

test(
  'F9 a failure that the database refuses becomes one that says so, ' + 'and the others of the batch are settled',
  async ({ db }) => {
    await db.sql.unsafe(`
    alter table ${db.s}.job add constraint no_poison check (last_error ->> 'message' not like '%poison%')`)
    const bugle = db.bugle()
    const failed = db.collect(bugle, 'job:failed')
    const acked = db.collect(bugle, 'job:acked')
    const all = together(9)
    const consumer = await bugle.consume(
      'emails',
      async ({ payload }) => {
        await all()
        if (payload === 3) throw new Error('poison')
        if (payload === 5) return reject('well founded')
      },
      { concurrency: 9, retryStrategy: false },
    )
    await bugle.putMany('emails', [0, 1, 2, 3, 4, 5, 6, 7, 8])
    await consumer.idle()
    expect(acked.all).toHaveLength(7)
    expect(await db.jobs()).toMatchObject([
      {
        payload: 3,
        state: 'failed',
        last_error: { message: expect.stringContaining('refused to store'), failedBy: 'invalid', attempt: 1 },
      },
      { payload: 5, state: 'failed', last_error: { message: 'well founded', failedBy: 'rejected' } },
    ])
    expect(failed.all.map(({ error }) => error.message).sort()).toEqual([
      expect.stringContaining('no_poison'),
      'well founded',
    ])
    expect(await consumer.stop()).toMatchObject({ completed: 7, failed: 2 })
  },
)
