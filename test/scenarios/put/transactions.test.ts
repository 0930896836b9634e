import { randomUUID } from 'node:crypto'
import createKnex from 'knex'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import { BugleError } from '../../../src/index.js'
import { fromDrizzle, fromKnex, fromKysely, fromPrisma } from '../../../src/transactions/adapters.js'
import { inTransaction } from '../../../src/transactions/transaction.js'
import { signal, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'
import { accounts, libraries, openLibrary } from '../../support/transactions.js'

for (const library of libraries) {
  test(`transactions: with ${library.name}, a job starts after the commit, never before`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    const order: unknown[] = []
    const marked = signal()
    const consumer = await bugle.consume('emails', async ({ payload }) => {
      if (payload === 'marker') marked.resolve()
      // What the caller wrote beside the job is there when the job runs.
      order.push([payload, ...(await accounts(db))])
    })
    await untilAsleep(db, 'emails')
    const notified = await watchNotifications(db)
    const ids: string[] = []
    await opened.transaction(async ({ tx, insert }) => {
      ids.push(await bugle.put('emails', 'one', { tx, priority: 2 }))
      await insert('Ada')
      ids.push(...(await bugle.putMany('emails', ['two', 'three'], { tx, priority: 1 })))
      // The marker is put later and runs earlier: the consumer is awake, and does not see the others.
      await bugle.put('emails', 'marker')
      await marked.promise
      await consumer.idle()
      order.push('commit')
    })
    await consumer.idle()
    expect(ids.map(Number).filter((id) => id > 0)).toHaveLength(3)
    expect(order.slice(0, 2)).toEqual([['marker'], 'commit'])
    expect(order.slice(2).sort()).toEqual([
      ['one', 'Ada'],
      ['three', 'Ada'],
      ['two', 'Ada'],
    ])
    expect(await db.jobs()).toEqual([])
    // The marker's commit, and the transaction's.
    expect(await notified()).toEqual(['emails', 'emails'])
  })

  test(`transactions: with ${library.name}, a rollback leaves neither jobs nor rows`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    const seen: unknown[] = []
    const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
    await untilAsleep(db, 'emails')
    const rollback = new Error('no')
    const ids: string[] = []
    await expect(
      opened.transaction(async ({ tx, insert }) => {
        ids.push(await bugle.put('emails', 'one', { tx }))
        await insert('Ada')
        ids.push(...(await bugle.putMany('emails', ['two', 'three'], { tx })))
        throw rollback
      }),
    ).rejects.toBe(rollback)
    expect(new Set(ids).size).toBe(3)
    await bugle.put('emails', 'marker')
    await consumer.idle()
    expect(seen).toEqual(['marker'])
    expect(await db.jobs()).toEqual([])
    expect(await accounts(db)).toEqual([])
  })

  test(`transactions: with ${library.name}, what Bugle refuses is not sent, and the caller goes on`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle({ maxPayloadBytes: 100 })
    await opened.transaction(async ({ tx, insert }) => {
      await insert('before')
      const refusals = [
        await refusal(() => bugle.put('emails', undefined, { tx })),
        await refusal(() => bugle.putMany('emails', ['fine', 1n], { tx })),
        await refusal(() => bugle.put('emails', 'x'.repeat(100), { tx })),
        await refusal(() => bugle.put('emails', 1, { tx, priority: 0.5 })),
        await refusal(() => bugle.put('', 1, { tx })),
      ]
      expect(refusals.map(({ code }) => code)).toEqual([
        'INVALID_PAYLOAD',
        'INVALID_PAYLOAD',
        'PAYLOAD_TOO_LARGE',
        'INVALID_OPTION',
        'INVALID_QUEUE',
      ])
      await insert('after')
      await bugle.put('emails', 'good', { tx })
    })
    expect(await accounts(db)).toEqual(['before', 'after'])
    expect(await db.jobs()).toMatchObject([{ queue: 'emails', payload: 'good', state: 'ready' }])
  })

  test(`transactions: with ${library.name}, the schema may have any name`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const schema = `"?" $1 '?' \\? ?? :a -- /* ${randomUUID().slice(0, 8)}`
    const bugle = db.bugle({ schema })
    await bugle.migrate()
    const seen: unknown[] = []
    const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
    await opened.transaction(async ({ tx, insert }) => {
      await insert('Ada')
      await bugle.put('emails', 'one', { tx, priority: 2 })
      await bugle.putMany('emails', ['two'], { tx, priority: 1 })
    })
    await consumer.idle()
    expect(seen.sort()).toEqual(['one', 'two'])
    expect(await accounts(db)).toEqual(['Ada'])
    await bugle.close()
    await db.sql`drop schema ${db.sql(schema)} cascade`
  })

  test(`transactions: with ${library.name}, a statement and its values arrive as they are`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const text = `/* what? $1 */ select
      $2::text as "a?b ""$1",
      $1::smallint as "snake_case",
      $2::text || '?$1''' as again, -- why? $2
      $3::text as "\\?\\\\??",
      jsonb '{"a": 1}' ? 'a' as has`
    const string = `it's "?" ?? \\? $1 :a \\ \u{1f3f4}`
    const rows = await opened.transaction(({ tx }) => inTransaction(tx)(text, [-7, string, null]))
    expect(rows.map((row) => ({ ...(row as object) }))).toEqual([
      { 'a?b "$1': string, snake_case: -7, again: `${string}?$1'`, '\\?\\\\??': null, has: true },
    ])
  })

  test(`transactions: with ${library.name}, an error of the database has Bugle's code if there is one`, async ({
    db,
  }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    await bugle.put('emails', 'known to be migrated')
    await db.sql.unsafe(`alter table ${db.s}.job rename to gone`)
    const errors: unknown[] = []
    const failed = opened.transaction(async ({ tx, insert }) => {
      await insert('Ada')
      const first = await refusal(() => bugle.put('emails', 1, { tx }))
      expect(first).toMatchObject({ code: 'NOT_MIGRATED', message: expect.stringContaining('does not exist') })
      // The transaction is aborted now, which is no matter of Bugle's: the library's own error comes through.
      errors.push(await bugle.put('emails', 1, { tx }).catch((error: unknown) => error))
      throw first
    })
    await expect(failed).rejects.toThrow(BugleError)
    expect(errors).toEqual([expect.any(Error)])
    expect(errors[0]).not.toBeInstanceOf(BugleError)
    expect(await accounts(db)).toEqual([])
  })

  test(`transactions: with ${library.name}, a key that is taken is KEY_TAKEN`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    const id = await bugle.put('emails', 'first', { key: 'ada' })
    // A single put leaves the transaction as it was; of a batch the statement fails, and the transaction with it.
    await opened.transaction(async ({ tx, insert }) => {
      const refused = await refusal(() => bugle.put('emails', 'second', { tx, key: 'ada', keyMode: 'reject' }))
      expect(refused).toMatchObject({ code: 'KEY_TAKEN' })
      await insert('Ada')
    })
    const failed = opened.transaction(async ({ tx, insert }) => {
      await insert('Bob')
      await bugle.putMany('emails', ['third', 'fourth'], (payload) => ({
        tx,
        key: payload === 'third' ? 'bob' : 'ada',
        keyMode: 'reject',
      }))
    })
    await expect(failed).rejects.toMatchObject({ name: 'BugleError', code: 'KEY_TAKEN' })
    expect(await accounts(db)).toEqual(['Ada'])
    expect(await db.jobs()).toMatchObject([{ id, payload: 'first' }])
  })

  test(`transactions: with ${library.name}, another unique index than that of keys is no KEY_TAKEN`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    await db.sql.unsafe(`create unique index theirs on ${db.s}.job ((payload ->> 'order'))`)
    await bugle.put('emails', { order: 7 })
    const codes: unknown[] = []
    for (const way of ['an index of theirs', 'an id']) {
      if (way === 'an id') await db.sql.unsafe(`alter table ${db.s}.job alter column id restart with 1`)
      const payload = way === 'an id' ? 1 : { order: 7 }
      const failed = opened.transaction(({ tx }) =>
        bugle.putMany('emails', [payload], { tx, key: way, keyMode: 'reject' }),
      )
      codes.push(await failed.catch((error) => error.code))
    }
    expect(codes).toEqual(['INVALID_PAYLOAD', 'ID_TAKEN'])
    expect(await db.jobs()).toHaveLength(1)
  })

  const { outside } = library
  if (outside === undefined) continue

  test(`transactions: with ${library.name}, what is no transaction is INVALID_OPTION`, async ({ db }) => {
    const bugle = db.bugle()
    const refused = await refusal(async () => bugle.put('emails', 1, { tx: await outside(db) }))
    expect(refused).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringMatching(/ transaction.*; got a/) })
    expect(await db.jobs()).toEqual([])
  })
}

const adapters = { fromKysely, fromDrizzle, fromKnex, fromPrisma }

for (const [name, adapter] of Object.entries(adapters)) {
  test(`transactions: ${name} refuses anything else at once`, () => {
    const knex = createKnex({ client: 'pg' })
    const kysely = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool() }) })
    for (const wrong of [undefined, null, 1, 'tx', {}, [], () => [], new pg.Client(), knex, kysely]) {
      const adapt = adapter as (tx: unknown) => unknown
      expect(() => adapt(wrong)).toThrow(
        expect.objectContaining({
          code: 'INVALID_OPTION',
          message: expect.stringMatching(new RegExp(`^${name} takes .*; got .+`)),
        }),
      )
    }
  })
}

test('transactions: fromKysely refuses a connection without a transaction', async ({ db }) => {
  const pool = new pg.Pool({ connectionString: db.connectionString })
  const kysely = new Kysely({ dialect: new PostgresDialect({ pool }) })
  onTestFinished(() => kysely.destroy())
  const refused = await refusal(() => kysely.connection().execute(async (one) => fromKysely(one as never)))
  expect(refused).toMatchObject({ code: 'INVALID_OPTION' })
})

test('transactions: a Knex that is no transaction is INVALID_OPTION', async ({ db }) => {
  const refused = await refusal(() => db.bugle().put('emails', 1, { tx: createKnex({ client: 'pg' }) as never }))
  expect(refused).toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringMatching(/fromKnex.*; got a Knex that is no transaction$/),
  })
})
