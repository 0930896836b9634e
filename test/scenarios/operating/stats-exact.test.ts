import { expect } from 'vitest'
import { test } from '../../support/database.js'
import { atLeast, exactly, insert, none, queueOf } from '../../support/stats.js'

test('stats: exact counts go beyond 10,000, of one queue and of all', async ({ db }) => {
  const bugle = db.bugle()
  await insert(
    db,
    'queue, state, finished_at',
    `select 'deep', state, now() from unnest('{ready,failed}'::text[]) as state, generate_series(1, 12000)`,
  )
  await bugle.put('few', 1, { delayMs: 3_600_000 })
  expect(queueOf(await bugle.stats('deep'), 'deep')).toMatchObject({ ready: atLeast(10_000), failed: atLeast(10_000) })
  const all = { ready: exactly(12_000), failed: exactly(12_000), scheduled: none, running: none }
  expect(queueOf(await bugle.stats('deep', { exact: true }), 'deep')).toMatchObject(all)
  const stats = await bugle.stats(undefined, { exact: true })
  expect(queueOf(stats, 'deep')).toMatchObject(all)
  expect(queueOf(stats, 'few')).toMatchObject({ scheduled: exactly(1), ready: none, failed: none })
  for (const options of [{ exact: 1 }, { exat: true }, 5]) {
    await expect(bugle.stats('deep', options as never)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  }
})
