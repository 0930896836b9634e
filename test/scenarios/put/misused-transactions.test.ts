import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { type Library, libraries, openLibrary } from '../../support/transactions.js'

async function connected(db: TestDatabase): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: db.connectionString })
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

/** What libraries answer that is no array of rows, and what a put says then. */
const answers: Record<string, [answer: (rows: object[]) => unknown, got: RegExp]> = {
  'rows and metadata, as Sequelize does': [(rows) => [rows, { rowCount: 1 }], /got an array in an array/],
  'no rows and metadata': [() => [[], { rowCount: 0 }], /got an array in an array/],
  'a number': [() => 1, /got number\./],
  nothing: [() => undefined, /got undefined\./],
  null: [() => null, /got null\./],
  'an array of arrays': [(rows) => rows.map((row) => Object.values(row)), /got an array in an array/],
  'an array of texts': [() => ['1'], /got an array with string in it/],
  'an object without rows': [() => ({ rowCount: 1 }), /got an object with undefined as rows/],
  'rows with other names': [(rows) => rows.map((row) => ({ ID: Object(row).id })), /got a row without id/],
  'rows of numbers': [(rows) => rows.map((row) => ({ id: Number(Object(row).id) })), /a row whose id is number/],
}

for (const [what, [answer, got]] of Object.entries(answers)) {
  test(`transactions: a function that answers with ${what} is INVALID_OPTION`, async ({ db }) => {
    const client = await connected(db)
    const bugle = db.bugle()
    const tx = async (text: string, values: unknown[]) =>
      answer((await client.query<object>(text, values)).rows) as never
    const expected = { code: 'INVALID_OPTION', message: expect.stringMatching(got) }
    await client.query('begin')
    expect(await refusal(() => bugle.put('q', 1, { tx }))).toMatchObject(expected)
    expect(await refusal(() => bugle.put('q', 1, { tx, key: 'k', keyMode: 'reject' }))).toMatchObject(expected)
    expect(await refusal(() => bugle.putMany('q', [1], { tx }))).toMatchObject({ code: 'INVALID_OPTION' })
    await client.query('rollback')
    expect(await db.jobs()).toEqual([])
  })
}

test('transactions: an ack whose function answers with rows and metadata is not LEASE_LOST', async ({ db }) => {
  const client = await connected(db)
  const bugle = db.bugle()
  const refused = signal<unknown>()
  await bugle.consume('q', async (_job, ctx) => {
    await client.query('begin')
    const tx = async (text: string, values: unknown[]) => [(await client.query(text, values)).rows, {}] as never
    refused.resolve(await refusal(() => ctx.ack(tx)))
    await client.query('rollback')
  })
  await bugle.put('q', 1)
  expect(await refused.promise).toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringMatching(/got an array/),
  })
})

test('transactions: `tx: undefined` is INVALID_OPTION, and nothing is written', async ({ db }) => {
  const bugle = db.bugle()
  const expected = {
    code: 'INVALID_OPTION',
    message: 'put options: tx is undefined; give a transaction, or leave tx out',
  }
  const misspelt = { tx: Object({ trx: 1 }).tx }
  expect(await refusal(() => bugle.put('q', 1, misspelt))).toMatchObject(expected)
  expect(await refusal(() => bugle.putMany('q', [1], misspelt))).toMatchObject(expected)
  expect(await refusal(() => bugle.putMany('q', [1], () => misspelt))).toMatchObject({ code: 'INVALID_OPTION' })
  expect(await db.jobs()).toEqual([])
})

test('transactions: a pg client is taken between its BEGIN and COMMIT only', async ({ db }) => {
  const client = await connected(db)
  const bugle = db.bugle()
  const expected = {
    code: 'INVALID_OPTION',
    message: expect.stringMatching(/got a pg client outside of a transaction/),
  }
  expect(await refusal(() => bugle.put('q', 'before', { tx: client }))).toMatchObject(expected)
  await client.query('begin')
  await bugle.put('q', 'inside', { tx: client })
  await client.query('savepoint here')
  await bugle.putMany('q', ['beneath a savepoint'], { tx: client })
  await client.query('commit')
  expect(await refusal(() => bugle.put('q', 'after', { tx: client }))).toMatchObject(expected)
  expect(await refusal(() => bugle.putMany('q', ['after'], { tx: client }))).toMatchObject(expected)
  expect((await db.jobs()).map(({ payload }) => payload)).toEqual(['inside', 'beneath a savepoint'])
})

test('transactions: a pg client whose BEGIN is on its way is taken', async ({ db }) => {
  const client = await connected(db)
  const bugle = db.bugle()
  await bugle.put('q', 'ready')
  const begun = client.query('begin')
  const put = bugle.put('q', 'inside', { tx: client })
  await Promise.all([begun, put])
  await client.query('rollback')
  expect((await db.jobs()).map(({ payload }) => payload)).toEqual(['ready'])
})

/** What each library does by itself with a transaction that is over. Of the others it cannot be known. */
const refusing: readonly Library['name'][] = ['pg', 'Kysely', 'Kysely, controlled', 'Knex', 'Prisma']

for (const library of libraries.filter(({ name }) => refusing.includes(name))) {
  test(`transactions: with ${library.name}, a transaction that is over takes no job`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    await bugle.put('q', 'ready')
    const kept = await opened.transaction(async ({ tx }) => tx)
    const error = await bugle.put('q', 'late', { tx: kept }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Error)
    expect((await db.jobs()).map(({ payload }) => payload)).toEqual(['ready'])
  })
}
