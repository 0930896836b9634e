import { expect, onTestFinished } from 'vitest'
import type { BugleError } from '../../../src/index.js'
import { inTransaction } from '../../../src/transactions/transaction.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { at } from '../../support/held-proxy.js'
import { startProxy } from '../../support/proxy.js'
import { refusal } from '../../support/refusal.js'
import { type Library, libraries, openLibrary } from '../../support/transactions.js'
import { until } from '../../support/until.js'

/**
 * What stands on `pg`, whose own errors have no code. (postgres.js has codes; and a backend that dies within its
 * `sql.begin` may end the process.)
 */
const onPg = libraries.filter(({ name }) => !name.includes('postgres.js'))

/** Backends with a lock of that mode on a table of the test's, or that wait for it. */
const holders = (db: TestDatabase, table: string, mode: string) => db.sql<{ pid: number; granted: boolean }[]>`
  select pid, granted from pg_locks where relation = ${`${db.s}.${table}`}::regclass and mode = ${mode}`

for (const library of onPg) {
  test(`transactions: with ${library.name}, a connection that is lost before a put is told in our words`, async ({
    db,
  }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    await bugle.put('q', 'known to be migrated')
    const refused: BugleError[] = []
    const lost = opened.transaction(async ({ tx, insert }) => {
      await insert('Ada')
      await db.kill((await holders(db, 'account', 'RowExclusiveLock')).map(({ pid }) => pid))
      refused.push(await refusal(() => bugle.put('q', 'first', { tx })))
      // By now the client knows it.
      refused.push(await refusal(() => bugle.put('q', 'second', { tx })))
      throw new Error('lost')
    })
    await expect(lost).rejects.toThrow()
    const [first, second] = refused
    expect(['DATABASE_DOWN', 'RESULT_UNKNOWN']).toContain(first?.code)
    expect(['DATABASE_DOWN', 'RESULT_UNKNOWN']).toContain(second?.code)
    for (const { message } of refused) expect(message).toMatch(/^put: /)
    expect(await db.jobs()).toMatchObject([{ payload: 'known to be migrated' }])
  })

  test(`transactions: with ${library.name}, a connection that is closed under a put is RESULT_UNKNOWN`, async ({
    db,
  }) => {
    const { hostname, port } = new URL(db.connectionString)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => proxy.close())
    const opened = await openLibrary({ ...db, connectionString: at(db, proxy.port) }, library)
    const bugle = db.bugle()
    await bugle.put('q', 'known to be migrated')
    const other = db.connect()
    await other.unsafe(`begin; lock table ${db.s}.job in share mode`).simple()
    const refused: BugleError[] = []
    const lost = opened.transaction(async ({ tx }) => {
      const putting = refusal(() => bugle.put('q', 'lost', { tx }))
      await until(async () => (await holders(db, 'job', 'RowExclusiveLock')).some(({ granted }) => !granted))
      // Closed in order, without a word: that is where `pg` has no code.
      await proxy.refuse()
      refused.push(await putting)
      throw new Error('lost')
    })
    await expect(lost).rejects.toThrow()
    expect(refused).toMatchObject([
      { code: 'RESULT_UNKNOWN', message: expect.stringMatching(/^put: .* may have been/) },
    ])
    await other.unsafe('rollback')
    await until(async () => (await holders(db, 'job', 'RowExclusiveLock')).length === 0)
    expect(await db.jobs()).toMatchObject([{ payload: 'known to be migrated' }])
  })
}

for (const library of libraries) {
  test(`transactions: with ${library.name}, one that is read only is INVALID_OPTION with a remedy`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    const downs = db.collect(bugle, 'database:down')
    await bugle.put('q', 'known to be migrated')
    const refused: BugleError[] = []
    const rolledBack = opened.transaction(async ({ tx }) => {
      await inTransaction(tx)('set transaction read only', [])
      refused.push(await refusal(() => bugle.put('q', 'no', { tx })))
      throw new Error('as it must')
    })
    await expect(rolledBack).rejects.toThrow('as it must')
    expect(refused).toMatchObject([
      {
        code: 'INVALID_OPTION',
        message: expect.stringMatching(/^tx .*read-only transaction.*READ WRITE.*primary/s),
        cause: { code: '25006' },
      },
    ])
    expect(await db.jobs()).toHaveLength(1)
    expect(downs.all).toEqual([])
  })
}

const [pgLibrary] = onPg as [Library]

test('transactions: ctx.ack says the same of a transaction that is read only, and of one that is lost', async ({
  db,
}) => {
  const opened = await openLibrary(db, pgLibrary)
  const bugle = db.bugle()
  const refused: BugleError[] = []
  const ended = signal()
  await bugle.consume(
    'q',
    async (_job, ctx) => {
      for (const way of ['read only', 'lost']) {
        const rolledBack = opened.transaction(async ({ tx, insert }) => {
          if (way === 'read only') await inTransaction(tx)('set transaction read only', [])
          else {
            await insert('Ada')
            await db.kill((await holders(db, 'account', 'RowExclusiveLock')).map(({ pid }) => pid))
          }
          refused.push(await refusal(() => ctx.ack(tx)))
          throw new Error('as it must')
        })
        await rolledBack.catch(() => {})
      }
      ended.resolve()
    },
    { retryStrategy: false },
  )
  await bugle.put('q', 1)
  await ended.promise
  expect(refused.map(({ code }) => code)).toEqual(['INVALID_OPTION', expect.stringMatching(/DOWN|UNKNOWN/)])
  expect(refused[1]?.message).toMatch(/^ctx\.ack: /)
})
