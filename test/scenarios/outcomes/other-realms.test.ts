import { runInNewContext } from 'node:vm'
import { expect } from 'vitest'
import { test } from '../../support/database.js'
import { fullRows } from '../../support/rows.js'

/** As jest runs tests and the code that they test: with classes of their own. */
function ofAnotherRealm<T>(code: string): T {
  return runInNewContext(code) as T
}

test('an error of another realm: its name, message and code are stored, and its retryAfterMs is heeded', async ({
  db,
}) => {
  const bugle = db.bugle()
  const retrying = db.collect(bugle, 'job:retrying')
  const thrown = ofAnotherRealm<Error>(
    `Object.assign(new RangeError('too much'), { code: 'BUSY', retryAfterMs: 3_600_000 })`,
  )
  await bugle.consume('q', () => {
    throw thrown
  })
  await bugle.put('q', 1)
  const { error, retryAt } = await retrying.next()
  expect(error).toBe(thrown)
  expect(retryAt.getTime()).toBeGreaterThan(Date.now() + 3_000_000)
  expect(await db.jobs()).toMatchObject([
    { state: 'scheduled', last_error: { name: 'RangeError', message: 'too much', code: 'BUSY' } },
  ])
})

test('dates of another realm are dates: in a payload, and as runAt', async ({ db }) => {
  const bugle = db.bugle()
  const at = '2038-01-19T03:14:07.123Z'
  const date = ofAnotherRealm<Date>(`new Date('${at}')`)
  await bugle.put('q', { at: date }, { runAt: date })
  expect(await fullRows(db)).toMatchObject([{ payload: { at }, run_at: new Date(at), state: 'scheduled' }])
  await expect(bugle.put('q', { at: ofAnotherRealm('new Date(NaN)') })).rejects.toMatchObject({
    code: 'INVALID_PAYLOAD',
    message: 'payload.at is an invalid Date',
  })
  expect(await db.jobs()).toHaveLength(1)
})
