import { expect } from 'vitest'
import { type Bugle, partial, retry } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'

/** What holds back one outcome until a transaction of somebody else's ends. */
const holders: Record<string, (db: TestDatabase, bugle: Bugle, id: string) => Promise<() => Promise<unknown>>> = {
  'its row, in psql': async (db, _bugle, id) => {
    const session = db.connect()
    await session.unsafe(`begin; select ${db.s}.cancel(${id})`)
    return () => session.unsafe('rollback')
  },
  'its key, in a put that is not committed': async (db, bugle) => {
    const session = db.connect()
    const put = signal()
    const end = signal()
    const done = session.begin(async (tx) => {
      await bugle.put('emails', 'newer', { key: 'k', delayMs: 3_600_000, tx })
      put.resolve()
      await end.promise
      throw new Error('rolled back')
    })
    done.catch(() => {})
    await put.promise
    return async () => {
      end.resolve()
      await done.catch(() => {})
    }
  },
}

for (const [what, hold] of Object.entries(holders)) {
  test(`blocked: while somebody holds ${what}, an outcome waits alone, and all others are settled`, async ({ db }) => {
    const bugle = db.bugle()
    const retrying = db.collect(bugle, 'job:retrying')
    const acked = db.collect(bugle, 'job:acked')
    const running = signal<string>()
    const goOn = signal()
    const consumer = await bugle.consume(
      'emails',
      async ({ id, payload }) => {
        if (payload !== 'held') return
        running.resolve(id)
        await goOn.promise
        return retry({ delayMs: 3_600_000 })
      },
      { concurrency: 3 },
    )
    await bugle.put('emails', 'held', { key: 'k' })
    const id = await running.promise
    const release = await hold(db, bugle, id)
    goOn.resolve()
    // Far more than there are slots, so each is settled before others run.
    await bugle.putMany(
      'emails',
      Array.from({ length: 30 }, (_, n) => n),
    )
    for (let n = 0; n < 30; n += 1) await acked.next()
    expect(retrying.all).toEqual([])
    await release()
    await retrying.next()
    expect(await db.jobs()).toMatchObject([{ id, state: 'scheduled', attempt: 1 }])
    expect(await consumer.stop()).toMatchObject({ completed: 30 })
  })
}

test('blocked: many outcomes of a megabyte each are settled', async ({ db }) => {
  const bugle = db.bugle()
  const count = 40
  let waiting = 0
  const all = signal()
  const large = 'x'.repeat(1_000_000)
  const consumer = await bugle.consume(
    'emails',
    async ({ payload }) => {
      // They end together, as one batch would.
      waiting += 1
      if (waiting === count) all.resolve()
      await all.promise
      return Number(payload) % 2 === 0 ? large : partial(large, { delayMs: 3_600_000 })
    },
    { concurrency: count, keep: 'all' },
  )
  await bugle.putMany(
    'emails',
    Array.from({ length: count }, (_, n) => n),
  )
  await consumer.idle()
  expect((await db.jobs()).map(({ state }) => state)).toEqual(Array(count / 2).fill('scheduled'))
  const [row] = await db.sql.unsafe(
    `select count(*)::int as kept, min(length(result ->> 0)) as chars from ${db.s}.archive`,
  )
  expect(row).toEqual({ kept: count / 2, chars: 1_000_000 })
})
