import { expect } from 'vitest'
import { reject, release } from '../../../src/index.js'
import { test } from '../../support/database.js'
import { fullRows } from '../../support/rows.js'

test('errors: those of the last nine failed runs are kept, the former ones in short', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 1, { maxAttempts: 11 })
  await bugle.drain(
    'q',
    ({ attempt }) => {
      throw Object.assign(new Error(`run ${attempt} ${'x'.repeat(3_000)}`, { cause: new Error('why') }), {
        code: `E${attempt}`,
      })
    },
    { retryStrategy: () => ({ delayMs: 0 }) },
  )
  const job = await bugle.job(id)
  expect(job?.errors.map(({ attempt, failedBy, code }) => [attempt, failedBy, code])).toEqual(
    [3, 4, 5, 6, 7, 8, 9, 10, 11].map((n) => [n, n === 11 ? 'exhausted' : 'retrying', `E${n}`]),
  )
  expect(job?.errors.at(-1)).toEqual(job?.error)
  expect(job?.error).toHaveProperty('cause')
  const [former] = job?.errors ?? []
  expect(former?.message).toMatch(/^run 3 x+$/)
  expect(former?.stack).toMatch(/^Error: run 3/)
  expect(former).not.toHaveProperty('cause')
  const [row] = await db.sql.unsafe(
    `select pg_column_size(former_errors) as bytes, length(former_errors::text) as chars from ${db.s}.job`,
  )
  expect(row?.chars).toBeLessThan(8 * 2_500)

  expect(await bugle.requeue(id)).toBe(1)
  expect(await fullRows(db)).toMatchObject([{ last_error: null, former_errors: null }])
  expect(await bugle.job(id)).toMatchObject({ error: null, errors: [] })
})

test('errors: a run that does not fail adds none, and one failure has no former ones', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 1, { delayMs: 0 })
  let runs = 0
  await bugle.drain(
    'q',
    () => {
      runs += 1
      if (runs === 1) throw new Error('only')
      if (runs === 2) return release({ delayMs: 0 })
      return release({ delayMs: 3_600_000 })
    },
    { retryStrategy: { maxAttempts: 2 } },
  )
  expect(await fullRows(db)).toMatchObject([{ id, former_errors: null, last_error: { message: 'only' } }])
  expect((await bugle.job(id))?.errors).toMatchObject([{ message: 'only' }])
  expect(await bugle.cancel(id)).toBe('cancelled')
  expect((await bugle.job(id))?.errors).toMatchObject([{ message: 'only' }, { message: 'cancelled' }])
})

test('errors: whatever others wrote there, a failure is stored', async ({ db }) => {
  const bugle = db.bugle()
  for (const [former, last] of [
    ['"text"', '"text"'],
    ['{"a": 1}', '[1]'],
    ['[1, null]', '{"message": {"deep": 1}}'],
    ['null', '5'],
  ]) {
    await db.sql.unsafe(
      `insert into ${db.s}.job (queue, former_errors, last_error) values ('q', $1::text::jsonb, $2::text::jsonb)`,
      [former ?? '', last ?? ''],
    )
  }
  const report = await bugle.drain(
    'q',
    () => {
      throw new Error('no')
    },
    { retryStrategy: false },
  )
  expect(report).toMatchObject({ failed: 4 })
  for (const { errors } of (await bugle.jobs()).jobs) expect(errors.at(-1)).toMatchObject({ message: 'no' })
})

test('runMs: of a run that failed, or is retried; null of a job that never began', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const retrying = db.collect(bugle, 'job:retrying')
  await bugle.put('q', 1)
  await bugle.drain(
    'q',
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      throw new Error('no')
    },
    { retryStrategy: { maxAttempts: 2 } },
  )
  expect((await retrying.next()).runMs).toBeGreaterThanOrEqual(19)
  expect((await failed.next()).runMs).toBeGreaterThanOrEqual(19)
})

test('D2 an outcome that is thrown counts as if it were returned', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 1)
  await bugle.drain('q', () => {
    throw reject('never')
  })
  expect(await bugle.job(id)).toMatchObject({
    state: 'failed',
    attempt: 1,
    error: { failedBy: 'rejected', message: 'never' },
  })
})
