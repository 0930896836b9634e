import { expect } from 'vitest'
import * as z from 'zod'
import { reject, release, retry } from '../../../src/index.js'
import { broken, throwing } from '../../support/broken.js'
import { test } from '../../support/database.js'
import { fullRows } from '../../support/rows.js'

const hookEnds: Record<string, () => unknown> = {
  throws: broken,
  'throws undefined': throwing(undefined),
  rejects: () => Promise.reject(new Error('broken')),
  'answers with a thenable that rejects': () => ({
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is shown
    then: (_: unknown, refuse: (reason: unknown) => void) => refuse(new Error('broken')),
  }),
  'answers with an outcome': () => retry(),
}

for (const [what, end] of Object.entries(hookEnds)) {
  test(`D4 an onFailed that ${what} changes nothing: the failure stays, the slot lives`, async ({ db }) => {
    const bugle = db.bugle()
    const told = db.collect(bugle, 'callback:error')
    const failed = db.collect(bugle, 'job:failed')
    const calls: unknown[] = []
    const order: unknown[] = []
    const consumer = await bugle.consume(
      'emails',
      ({ payload }) => {
        order.push(payload)
        if (payload === 'bad') throw new Error('it went wrong')
      },
      {
        concurrency: 1,
        retryStrategy: { maxAttempts: 2 },
        onFailed: (job, error) => {
          calls.push([job.id, job.attempt, error.message])
          return end()
        },
      },
    )
    const [id] = await bugle.putMany('emails', ['bad', 'good'])
    await consumer.idle()
    // Not after the first run, which was to be retried.
    expect(calls).toEqual([[id, 2, 'it went wrong']])
    expect(order.sort()).toEqual(['bad', 'bad', 'good'])
    expect(failed.all).toHaveLength(1)
    expect(await fullRows(db)).toMatchObject([
      { id, state: 'failed', attempt: 2, last_error: { message: 'it went wrong', failedBy: 'exhausted' } },
    ])
    const error = expect.any(Error)
    expect(told.all).toEqual(what === 'answers with an outcome' ? [] : [{ queue: 'emails', where: 'onFailed', error }])
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 1 })
  })
}

test('D4 onFailed is called once for each cause, with the job and its error, when the row is failed', async ({
  db,
}) => {
  const bugle = db.bugle({ schemas: { emails: z.object({ to: z.email(), ends: z.string().optional() }) } })
  const failed = db.collect(bugle, 'job:failed')
  const seen: { id: string; state: string | undefined; error: Error; isFrozen: boolean; told: number }[] = []
  const consumer = await bugle.consume(
    'emails',
    {
      letter: async (job) => {
        const { ends } = job.payload as { ends: string }
        if (ends === 'rejected') return reject('no')
        if (ends === 'exhausted') return broken()
        if (ends === 'result') return { n: 1n }
        await db.sql.unsafe(`select ${db.s}.cancel($1)`, [job.id])
        return release()
      },
    },
    {
      unknownKinds: 'fail',
      keep: 'all',
      retryStrategy: false,
      onFailed: async (job, error) => {
        const [row] = await db.sql.unsafe<{ state: string }[]>(`select state from ${db.s}.job where id = $1`, [job.id])
        const told = failed.all.filter(({ id }) => id === job.id).length
        seen.push({ id: job.id, state: row?.state, error, isFrozen: Object.isFrozen(job), told })
        // As one does to keep them apart.
        await bugle.put('dead letters', { job: job.id, message: error.message })
      },
    },
  )
  const to = 'a@example.org'
  const ends = ['rejected', 'exhausted', 'result', 'cancelled']
  await bugle.putMany(
    'emails',
    ends.map((each) => ({ to, ends: each })),
    { kind: 'letter' },
  )
  await bugle.put('emails', { to }, { kind: 'parcel' })
  await db.sql.unsafe(`insert into ${db.s}.job (queue, kind, payload) values ('emails', 'letter', '{"to": "nobody"}')`)
  await consumer.idle()
  const rows = (await fullRows(db)).filter(({ queue }) => queue === 'emails')
  expect(rows.map(({ state, last_error }) => [state, last_error?.failedBy])).toEqual([
    ['failed', 'rejected'],
    ['failed', 'exhausted'],
    ['failed', 'invalid'],
    ['failed', 'cancelled'],
    ['failed', 'no-handler'],
    ['failed', 'invalid'],
  ])
  expect(seen.map(({ id }) => id).sort()).toEqual(rows.map(({ id }) => id).sort())
  for (const { id, state, error, isFrozen, told } of seen) {
    expect([state, isFrozen, told]).toEqual(['failed', true, 1])
    expect(failed.all.find((event) => event.id === id)?.error).toBe(error)
  }
  expect((await db.jobs()).filter(({ queue }) => queue === 'dead letters')).toHaveLength(6)
})

test('D4 onFailed is called too where the database refuses to store a failure, with its error', async ({ db }) => {
  await db.sql.unsafe(`
    alter table ${db.s}.job add constraint no_poison check (last_error ->> 'message' not like '%poison%')`)
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', ({ payload }) => reject(String(payload)), {
    onFailed: (job, error) => seen.push([job.payload, error.message]),
  })
  const [id, fine] = await bugle.putMany('emails', ['poison', 'fine'])
  await consumer.idle()
  expect(seen).toHaveLength(2)
  expect(seen).toContainEqual(['poison', expect.stringContaining('no_poison')])
  expect(seen).toContainEqual(['fine', 'fine'])
  expect(await fullRows(db)).toMatchObject([
    { id, state: 'failed', attempt: 1, last_error: { failedBy: 'invalid' } },
    { id: fine, state: 'failed', attempt: 1, last_error: { failedBy: 'rejected', message: 'fine' } },
  ])
})
