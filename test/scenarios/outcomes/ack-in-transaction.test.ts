import { describe, expect } from 'vitest'
import { type BugleError, partial, reject } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { accounts, type Library, libraries, openLibrary } from '../../support/transactions.js'
import { until } from '../../support/until.js'

for (const library of libraries) {
  test(`ctx.ack: with ${library.name}, the handler's row and the ack commit together`, async ({ db }) => {
    const { transaction } = await openLibrary(db, library)
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    const inside = signal()
    const commit = signal()
    const consumer = await bugle.consume('accounts', (job, ctx) =>
      transaction(async ({ tx, insert }) => {
        await insert(String(job.payload))
        await ctx.ack(tx)
        inside.resolve()
        await commit.promise
      }),
    )
    await bugle.put('accounts', 'Ada')
    await inside.promise
    // Nothing of it is there before the commit.
    expect(await db.jobs()).toMatchObject([{ state: 'running' }])
    expect(await accounts(db)).toEqual([])
    commit.resolve()
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    expect(await accounts(db)).toEqual(['Ada'])
    expect(acked.all).toHaveLength(1)
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
  })

  test(`ctx.ack: with ${library.name}, a rollback leaves neither, and the job runs again`, async ({ db }) => {
    const { transaction } = await openLibrary(db, library)
    const bugle = db.bugle()
    const retrying = db.collect(bugle, 'job:retrying')
    const consumer = await bugle.consume(
      'accounts',
      (job, ctx) =>
        transaction(async ({ tx, insert }) => {
          await insert(`${job.payload} ${job.attempt}`)
          await ctx.ack(tx)
          if (job.attempt === 1) throw new Error('after the ack')
        }),
      { retryStrategy: { maxAttempts: 2 } },
    )
    await bugle.put('accounts', 'Ada')
    expect((await retrying.next()).error.message).toContain('after the ack')
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    expect(await accounts(db)).toEqual(['Ada 2'])
  })

  test(`ctx.ack: with ${library.name}, a job that was taken over is LEASE_LOST, and nothing is changed`, async ({
    db,
  }) => {
    const { transaction } = await openLibrary(db, library)
    const bugle = db.bugle()
    const stale = db.collect(bugle, 'job:stale')
    const refused = signal<BugleError>()
    await bugle.consume('accounts', async (_, ctx) => {
      await takeOver(db)
      return transaction(async ({ tx, insert }) => {
        await insert('Ada')
        await ctx.ack(tx).catch((error) => {
          refused.resolve(error)
          throw error
        })
      })
    })
    await bugle.put('accounts', 'Ada')
    expect(await refused.promise).toMatchObject({ name: 'BugleError', code: 'LEASE_LOST' })
    await stale.next()
    expect(await db.jobs()).toMatchObject([{ state: 'running', worker_id: '5', lease: '123456789' }])
    expect(await accounts(db)).toEqual([])
  })

  test(`ctx.ack: with ${library.name}, keep: 'all' moves the job with its result into the archive`, async ({ db }) => {
    const { transaction } = await openLibrary(db, library)
    const bugle = db.bugle()
    const consumer = await bugle.consume(
      'accounts',
      (_, ctx) => transaction(async ({ tx }) => ctx.ack(tx, { greeted: ['Ada', "O'Brien"] })),
      { keep: 'all' },
    )
    const id = await bugle.put('accounts', 'Ada')
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    expect(await bugle.job(id)).toMatchObject({
      state: 'archived',
      attempt: 1,
      result: { greeted: ['Ada', "O'Brien"] },
    })
  })
}

/** As a rescue, and another worker's claim after it, would. */
async function takeOver(db: TestDatabase): Promise<void> {
  await db.sql.unsafe(`update ${db.s}.job set lease = 123456789, worker_id = 5`)
}

describe('ctx.ack: whatever the handler does beside it', () => {
  const [postgresJs] = libraries as [Library]

  test('returning as if all were well after a rollback is a failed run', async ({ db }) => {
    const { transaction } = await openLibrary(db, postgresJs)
    const bugle = db.bugle()
    const failed = db.collect(bugle, 'job:failed')
    await bugle.consume(
      'accounts',
      async (_, ctx) => {
        await transaction(async ({ tx, insert }) => {
          await insert('Ada')
          await ctx.ack(tx)
          throw new Error('changed my mind')
        }).catch(() => {})
      },
      { retryStrategy: false },
    )
    await bugle.put('accounts', 'Ada')
    expect((await failed.next()).error.message).toMatch(/transaction in which .* was not committed/)
    expect(await db.jobs()).toMatchObject([{ state: 'failed' }])
    expect(await accounts(db)).toEqual([])
  })

  test('a transaction that is tried again acks again', async ({ db }) => {
    const { transaction } = await openLibrary(db, postgresJs)
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    await bugle.consume('accounts', async (_, ctx) => {
      for (const tries of [1, 2]) {
        await transaction(async ({ tx, insert }) => {
          await insert(`try ${tries}`)
          await ctx.ack(tx)
          if (tries === 1) throw new Error('serialization failure')
        }).catch(() => {})
      }
    })
    await bugle.put('accounts', 'Ada')
    await acked.next()
    expect(await db.jobs()).toEqual([])
    expect(await accounts(db)).toEqual(['try 2'])
  })

  const ends: Record<string, () => unknown> = {
    throws: () => {
      throw new Error('too late')
    },
    'returns a reject': () => reject('too late'),
    'returns a partial': () => partial({ step: 1 }),
  }
  for (const [what, end] of Object.entries(ends)) {
    test(`a handler that ${what} after the commit has acked all the same`, async ({ db }) => {
      const { transaction } = await openLibrary(db, postgresJs)
      const bugle = db.bugle()
      const acked = db.collect(bugle, 'job:acked')
      const others = (['job:failed', 'job:retrying', 'job:partial', 'job:stale'] as const).map((name) =>
        db.collect(bugle, name),
      )
      const consumer = await bugle.consume('accounts', async (_, ctx) => {
        await transaction(({ tx }) => ctx.ack(tx))
        return end()
      })
      await bugle.put('accounts', 'Ada')
      await acked.next()
      await consumer.idle()
      expect(await db.jobs()).toEqual([])
      expect(others.flatMap(({ all }) => all)).toEqual([])
    })
  }

  test('a handler that does not wait for its commit is settled after it', async ({ db }) => {
    const { transaction } = await openLibrary(db, postgresJs)
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    const commit = signal()
    const committed = signal()
    await bugle.consume('accounts', async (_, ctx) => {
      const inside = signal()
      void transaction(async ({ tx }) => {
        await ctx.ack(tx)
        inside.resolve()
        await commit.promise
      }).then(committed.resolve)
      await inside.promise
    })
    await bugle.put('accounts', 'Ada')
    // The settle waits for the row, which the transaction has locked.
    const settling = `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%settle_other%'`
    await until(async () => (await db.sql.unsafe(settling)).length > 0)
    expect(acked.all).toEqual([])
    commit.resolve()
    await committed.promise
    await acked.next()
    expect(await db.jobs()).toEqual([])
  })

  test('a tx that is none is INVALID_OPTION, and the run fails with it', async ({ db }) => {
    const bugle = db.bugle()
    const failed = db.collect(bugle, 'job:failed')
    await bugle.consume('accounts', (_, ctx) => ctx.ack({} as never), { retryStrategy: false })
    await bugle.put('accounts', 'Ada')
    expect((await failed.next()).error).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringMatching(/^tx/) })
  })

  test('a result that JSON cannot hold is INVALID_PAYLOAD before anything is sent', async ({ db }) => {
    const { transaction } = await openLibrary(db, postgresJs)
    const bugle = db.bugle()
    const failed = db.collect(bugle, 'job:failed')
    await bugle.consume('accounts', (_, ctx) => transaction(({ tx }) => ctx.ack(tx, 1n)), {
      keep: 'all',
      retryStrategy: false,
    })
    await bugle.put('accounts', 'Ada')
    expect((await failed.next()).error).toMatchObject({ code: 'INVALID_PAYLOAD' })
    expect(await db.jobs()).toMatchObject([{ state: 'failed' }])
  })
})
