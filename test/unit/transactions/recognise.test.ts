import { expect, test } from 'vitest'
import { sendIn } from '../../../src/transactions/recognise.js'

/*
 * Doubles of what the libraries' documented objects have, for the libraries that are no dependency of the tests. With
 * the others the real ones are tested (scenarios/put/transactions-raw.test.ts).
 */
const sent: unknown[][] = []
const rows = [{ id: '1' }]

/** A pg client in a transaction. */
const client = {
  async query(...args: unknown[]) {
    sent.push(args)
    return { rows }
  },
}

async function answerOf(tx: unknown): Promise<unknown> {
  sent.length = 0
  return sendIn(tx)('select $1', ['x'])
}

test('a Sequelize transaction is sent to by its connection', async () => {
  const transaction = { connection: client, afterCommit() {}, async commit() {}, async rollback() {} }
  expect(await answerOf(transaction)).toEqual({ rows })
  expect(sent).toEqual([['select $1', ['x']]])
  expect(() => sendIn({ query() {}, transaction() {} })).toThrow(
    /got what has query\(\) and transaction\(\), and is none of these/,
  )
  expect(() => sendIn({ ...transaction, finished: 'commit' })).toThrow(/got a Sequelize transaction that is over/)
  expect(() => sendIn({ ...transaction, connection: undefined })).toThrow(/without a connection to PostgreSQL/)
})

/** TypeORM's: rows alone after some statements, beside a count after others; structured if it is asked for. */
const runner = {
  isTransactionActive: true,
  async startTransaction() {},
  async query(text: string, values: unknown[], isStructured?: boolean) {
    sent.push([text, values])
    return isStructured ? { records: rows, raw: [rows, 1], affected: 1 } : [rows, 1]
  },
}
const manager = { queryRunner: runner, createQueryBuilder() {}, query: () => Promise.resolve([rows, 1]) }

test('an EntityManager and a QueryRunner of TypeORM answer with rows, whatever the statement', async () => {
  expect(await answerOf(manager)).toEqual(rows)
  expect(await answerOf(runner)).toEqual(rows)
  expect(sent).toEqual([['select $1', ['x']]])
})

test('what TypeORM has outside of a transaction is refused', () => {
  const idle = { ...runner, isTransactionActive: false }
  for (const given of [idle, { ...manager, queryRunner: idle }, { ...manager, queryRunner: undefined }]) {
    expect(() => sendIn(given)).toThrow(/got what TypeORM has outside of a transaction: pass what dataSource/)
  }
})

test('what has a pool is refused, and what is sent in its transaction is not', async () => {
  const pgPromise = { query() {}, any() {}, tx() {}, task() {}, $pool: {} }
  const fastify = { pool: {}, connect() {}, query() {}, transact() {} }
  for (const given of [pgPromise, fastify]) expect(() => sendIn(given)).toThrow(/got what has a pool/)
  expect(await answerOf({ ...client, any() {}, ctx: {} })).toEqual({ rows })
})

test('a promise of a transaction is told to be awaited', () => {
  expect(() => sendIn(Promise.resolve(client))).toThrow(/got a promise: await it/)
})

test('an EntityManager of MikroORM 5 is no Knex, though it has raw', async () => {
  const em = { getTransactionContext: () => client, isInTransaction: () => true, raw() {}, createQueryBuilder() {} }
  expect(await answerOf(em)).toEqual({ rows })
})

test('an EntityManager of MikroORM is what is beneath it', async () => {
  const em = { getTransactionContext: () => client, isInTransaction: () => true, createQueryBuilder() {} }
  expect(await answerOf(em)).toEqual({ rows })
  expect(() => sendIn({ ...em, getTransactionContext: () => undefined })).toThrow(
    /got a MikroORM EntityManager without a transaction: pass the one that em.transactional\(\) gives/,
  )
})

test('a function sends, and a client of another kind with query is taken for a pg client', async () => {
  expect(await answerOf(async () => rows)).toEqual(rows)
  expect(await answerOf(client)).toEqual({ rows })
})

test('what is no transaction of anybody is refused by its kind alone, since it may hold a password', () => {
  for (const given of [null, 5, 'BEGIN', {}, [], { host: 'db', password: 'secret' }]) {
    expect(() => sendIn(given)).toThrow(
      /^tx must be a transaction of pg, .* => rows; got (null|number|string|object|array)$/,
    )
  }
})
