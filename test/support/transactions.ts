import { PrismaPg } from '@prisma/adapter-pg'
import { drizzle as drizzleNodePostgres } from 'drizzle-orm/node-postgres'
import { pgSchema, text } from 'drizzle-orm/pg-core'
import { drizzle as drizzlePostgresJs } from 'drizzle-orm/postgres-js'
import createKnex, { type Knex } from 'knex'
import { CamelCasePlugin, Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { onTestFinished } from 'vitest'
import type { Transaction } from '../../src/index.js'
import { fromDrizzle, fromKnex, fromKysely, fromPrisma } from '../../src/transactions/adapters.js'
import type { TestDatabase } from './database.js'
import { loadPrisma, type PrismaClient } from './prisma.js'

/** A library with transactions, as its users open it. */
export interface Library {
  /** In titles of tests. */
  readonly name: string
  /** Opens it on the test's database; closed after the test. Call `openLibrary`, which makes the table first. */
  open(db: TestDatabase): OpenLibrary | Promise<OpenLibrary>
  /** What it has that is no transaction, taken for one; absent where there is nothing of the kind. */
  outside?(db: TestDatabase): Transaction | Promise<Transaction>
}

export interface OpenLibrary {
  /** Runs a function in a transaction of the library: committed when it resolves, rolled back when it rejects. */
  transaction<T>(run: (inside: InTransaction) => Promise<T>): Promise<T>
}

export interface InTransaction {
  /** As a user hands it to `put`: by an adapter where there is one. */
  readonly tx: Transaction
  /** The library's own transaction, where `tx` is made of it. */
  readonly raw?: Transaction
  /** The caller's own write, by the library's own means. */
  insert(name: string): Promise<void>
}

/** Everything that may be `tx`: one row each, so that a test is one loop over them. */
export const libraries: readonly Library[] = [
  { name: 'postgres.js', open: openPostgresJs, outside: (db) => db.connect() as never },
  { name: 'pg', open: openPg, outside: (db) => openPool(db) as never },
  { name: 'Kysely', open: openKysely, outside: (db) => fromKysely(createKysely(db) as never) },
  { name: 'Kysely, controlled', open: openKyselyControlled },
  {
    name: 'Drizzle (node-postgres)',
    open: openDrizzleNodePostgres,
    outside: (db) => fromDrizzle(drizzleNodePostgres({ client: openPool(db) }) as never),
  },
  {
    name: 'Drizzle (postgres.js)',
    open: openDrizzlePostgresJs,
    outside: (db) => fromDrizzle(drizzlePostgresJs({ client: db.connect() }) as never),
  },
  { name: 'Knex', open: openKnex, outside: (db) => fromKnex(createKnexOf(db) as never) },
  { name: 'Prisma', open: openPrisma, outside: async (db) => fromPrisma((await createPrisma(db)) as never) },
  { name: 'a function that resolves with rows', open: (db) => openFunction(db, 'rows') },
  { name: 'a function that resolves with a result', open: (db) => openFunction(db, 'result') },
]

/** Opens a library, after the table `account` in the test's schema, into which `insert` writes. */
export async function openLibrary(db: TestDatabase, library: Library): Promise<OpenLibrary> {
  await db.sql.unsafe(`create table if not exists ${db.s}.account (name text not null)`)
  return await library.open(db)
}

/** The names that have been inserted and committed, in order. */
export async function accounts(db: TestDatabase): Promise<string[]> {
  const rows = await db.sql.unsafe<{ name: string }[]>(`select name from ${db.s}.account order by ctid`)
  return rows.map(({ name }) => name)
}

function openPostgresJs(db: TestDatabase): OpenLibrary {
  const sql = db.connect()
  return {
    transaction: (run) =>
      sql.begin((tx) =>
        run({
          tx,
          insert: async (name) => void (await tx`insert into ${tx(db.schema)}.account ${tx({ name })}`),
        }),
      ) as never,
  }
}

function openPg(db: TestDatabase): OpenLibrary {
  const pool = openPool(db)
  return {
    transaction: (run) =>
      inPgTransaction(pool, (client) => run({ tx: client, insert: (name) => insertByPg(db, client, name) })),
  }
}

function openFunction(db: TestDatabase, answer: 'rows' | 'result'): OpenLibrary {
  const pool = openPool(db)
  return {
    transaction: (run) =>
      inPgTransaction(pool, (client) =>
        run({
          tx: async (text, values) => {
            const result = await client.query<object>(text, values)
            return answer === 'rows' ? result.rows : result
          },
          insert: (name) => insertByPg(db, client, name),
        }),
      ),
  }
}

interface Tables {
  account: { name: string }
}

export function createKysely(db: TestDatabase): Kysely<Tables> {
  const dialect = new PostgresDialect({ pool: outlivingPool(db) })
  // The plugin that would rename the columns of Bugle's answers.
  const kysely = new Kysely<Tables>({ dialect, plugins: [new CamelCasePlugin()] })
  onTestFinished(() => kysely.destroy())
  return kysely
}

function insertByKysely(db: TestDatabase, trx: Kysely<Tables>): InTransaction['insert'] {
  return async (name) => void (await trx.withSchema(db.schema).insertInto('account').values({ name }).execute())
}

function openKysely(db: TestDatabase): OpenLibrary {
  const kysely = createKysely(db)
  return {
    transaction: (run) =>
      kysely.transaction().execute((trx) => run({ tx: fromKysely(trx), raw: trx, insert: insertByKysely(db, trx) })),
  }
}

function openKyselyControlled(db: TestDatabase): OpenLibrary {
  const kysely = createKysely(db)
  return {
    async transaction(run) {
      const trx = await kysely.startTransaction().execute()
      try {
        const result = await run({ tx: fromKysely(trx), raw: trx, insert: insertByKysely(db, trx) })
        await trx.commit().execute()
        return result
      } catch (error) {
        await trx.rollback().execute()
        throw error
      }
    },
  }
}

function openDrizzleNodePostgres(db: TestDatabase): OpenLibrary {
  const account = accountOfDrizzle(db)
  const drizzle = drizzleNodePostgres({ client: openPool(db) })
  return {
    transaction: (run) =>
      drizzle.transaction((tx) =>
        run({
          tx: fromDrizzle(tx),
          raw: tx,
          insert: async (name) => void (await tx.insert(account).values({ name })),
        }),
      ),
  }
}

function openDrizzlePostgresJs(db: TestDatabase): OpenLibrary {
  const account = accountOfDrizzle(db)
  const drizzle = drizzlePostgresJs({ client: db.connect() })
  return {
    transaction: (run) =>
      drizzle.transaction((tx) =>
        run({
          tx: fromDrizzle(tx),
          raw: tx,
          insert: async (name) => void (await tx.insert(account).values({ name })),
        }),
      ),
  }
}

function accountOfDrizzle(db: TestDatabase) {
  return pgSchema(db.schema).table('account', { name: text().notNull() })
}

export function createKnexOf(db: TestDatabase): Knex {
  const knex = createKnex({ client: 'pg', connection: db.connectionString, pool: { min: 0, max: 2 } })
  onTestFinished(() => knex.destroy())
  return knex
}

function openKnex(db: TestDatabase): OpenLibrary {
  const knex = createKnexOf(db)
  return {
    transaction: (run) =>
      knex.transaction((trx) =>
        run({
          tx: fromKnex(trx),
          raw: trx,
          insert: async (name) => void (await trx('account').withSchema(db.schema).insert({ name })),
        }),
      ),
  }
}

export async function createPrisma(db: TestDatabase): Promise<PrismaClient> {
  const Client = await loadPrisma()
  const prisma = new Client({ adapter: new PrismaPg({ connectionString: db.connectionString, max: 2 }) })
  onTestFinished(() => prisma.$disconnect())
  return prisma
}

async function openPrisma(db: TestDatabase): Promise<OpenLibrary> {
  const prisma = await createPrisma(db)
  return {
    transaction: (run) =>
      prisma.$transaction(
        (tx) =>
          run({
            tx: fromPrisma(tx),
            raw: tx,
            insert: async (name) => void (await tx.$executeRawUnsafe(`insert into ${db.s}.account values ($1)`, name)),
          }),
        // No test is about Prisma's own limits, of 5 and 2 seconds.
        { timeout: 60_000, maxWait: 60_000 },
      ),
  }
}

export function openPool(db: TestDatabase): pg.Pool {
  const pool = outlivingPool(db)
  onTestFinished(() => pool.end())
  return pool
}

/** A client that is lost while it is out of the pool would otherwise end the process. */
function outlivingPool({ connectionString }: TestDatabase): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 2 })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}

async function insertByPg(db: TestDatabase, client: pg.PoolClient, name: string): Promise<void> {
  await client.query(`insert into ${db.s}.account values ($1)`, [name])
}

async function inPgTransaction<T>(pool: pg.Pool, run: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    const result = await run(client)
    await client.query('commit')
    return result
  } catch (error) {
    // Where the connection is lost, the rollback fails as well.
    await client.query('rollback').catch(() => {})
    throw error
  } finally {
    client.release()
  }
}
