import { expect } from 'vitest'
import { partial, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { untilBlocked } from '../../support/lock-waits.js'
import { fullRows } from '../../support/rows.js'

/** How a run ends whose job goes back to its queue. */
const backToQueue: Record<string, () => unknown> = {
  'a throw': broken,
  'retry()': () => retry({ delayMs: 60_000 }),
  'retry() at once': () => retry({ delayMs: 0 }),
  'release()': () => release({ delayMs: 60_000 }),
  'partial()': () => partial(1, { delayMs: 60_000 }),
}

for (const [by, end] of Object.entries(backToQueue)) {
  test(`H5 a job that goes back by ${by} while a newer has its key goes back without it; its batch is settled`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const errors = db.collect(bugle, 'claim:error')
    const blocked = gate()
    const full = signal()
    let running = 0
    const consumer = await bugle.consume(
      'q',
      async ({ payload }) => {
        running += 1
        if (running === 4) full.resolve()
        if (running > 4) return release({ delayMs: 60_000 })
        await blocked.promise
        return payload === 'rejects' ? undefined : end()
      },
      { concurrency: 4, retryStrategy: { maxAttempts: 4, delaysMs: 60_000 }, keep: 'all' },
    )
    const [first, ...others] = await bugle.putMany('q', ['first', 'alone', 'no key', 'rejects'], (payload) =>
      payload === 'no key' ? {} : { key: payload as string },
    )
    await full.promise
    const newer = await bugle.put('q', 'newer', { key: 'first', delayMs: 30_000 })
    const stopped = consumer.stop()
    blocked.resolve()
    expect(await stopped).toMatchObject({ completed: 1, failed: 0 })
    expect(errors.all).toEqual([])
    const rows = await fullRows(db)
    expect(rows.map(({ id, key }) => [id, key])).toEqual([
      [first, null],
      [others[0], 'alone'],
      [others[1], null],
      [newer, 'first'],
    ])
    const state = by === 'retry() at once' ? 'ready' : 'scheduled'
    for (const row of rows.slice(0, 3)) expect(row).toMatchObject({ state, worker_id: null })
  })
}

test('H5 two running jobs of one key that both go back in one batch: one keeps the key', async ({ db, gate }) => {
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const retrying = db.collect(bugle, 'job:retrying')
  const blocked = gate()
  const consumer = await bugle.consume(
    'q',
    async () => {
      begun.resolve()
      await blocked.promise
      return retry({ delayMs: 60_000 })
    },
    { concurrency: 5 },
  )
  let begun = signal()
  for (let n = 0; n < 5; n += 1) {
    begun = signal()
    await bugle.put('q', n, { key: 'ada' })
    await begun.promise
  }
  expect((await fullRows(db)).map(({ state, key }) => [state, key])).toEqual(Array(5).fill(['running', 'ada']))
  blocked.resolve()
  await consumer.idle()
  expect(retrying.all).toHaveLength(5)
  expect(errors.all).toEqual([])
  const rows = await fullRows(db)
  expect(rows.map(({ state }) => state)).toEqual(Array(5).fill('scheduled'))
  expect(rows.filter(({ key }) => key === 'ada')).toHaveLength(1)
})

for (const end of ['commit', 'rollback'] as const) {
  test(`H5 a job that goes back while a put of its key is in flight, which ends with a ${end}`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const errors = db.collect(bugle, 'claim:error')
    const retrying = db.collect(bugle, 'job:retrying')
    const acked = db.collect(bugle, 'job:acked')
    const blocked = gate()
    const full = signal()
    let running = 0
    const consumer = await bugle.consume(
      'q',
      async ({ payload }) => {
        running += 1
        if (running === 2) full.resolve()
        await blocked.promise
        return payload === 'goes back' ? retry({ delayMs: 60_000 }) : undefined
      },
      { concurrency: 2, keep: 'all' },
    )
    const [id] = await bugle.putMany('q', ['goes back', 'beside it'], (payload) =>
      payload === 'goes back' ? { key: 'ada' } : {},
    )
    await full.promise
    const stranger = db.connect()
    await stranger.unsafe(
      `begin; insert into ${db.s}.job (queue, key, run_at) values ('q', 'ada', now() + interval '1 h')`,
    )
    blocked.resolve()
    await untilBlocked(db, 1)
    await stranger.unsafe(end)
    await Promise.all([retrying.next(), acked.next()])
    await consumer.idle()
    const waiting = (await fullRows(db)).map((row) => [row.id === id, row.state, row.key])
    expect(waiting).toEqual(
      end === 'commit'
        ? [
            [true, 'scheduled', null],
            [false, 'scheduled', 'ada'],
          ]
        : [[true, 'scheduled', 'ada']],
    )
    expect(errors.all).toEqual([])
  })
}

for (const { name, unique } of [
  { name: 'while it waits', unique: { key: 'ada' } },
  { name: 'while it runs too', unique: { key: 'ada', while: 'running' } },
] as const) {
  test(`H5 a failed job that an UPDATE makes ready has its key again, ${name}`, async ({ db }) => {
    const bugle = db.bugle()
    const id = await bugle.put('q', 'first', { unique })
    await bugle.drain('q', broken, { retryStrategy: false })
    await db.sql.unsafe(`update ${db.s}.job set state = 'ready', run_at = now()`)
    expect(await bugle.put('q', 'second', { unique })).toBe(id)
    expect(await fullRows(db)).toMatchObject([{ id, payload: 'first', key: 'ada', state: 'ready' }])
  })
}
