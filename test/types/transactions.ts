/**
 * Checked by `tsc -p test/tsconfig.json`, never run: whose transactions the adapters take, and what they refuse.
 */
import type {
  DefaultArgs,
  DynamicClientExtensionThis,
  ITXClientDenyList,
  TypeMapCbDef,
} from '@prisma/client/runtime/client'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import { type PgDatabase, type PgQueryResultHKT, type PgTransaction, pgTable, text } from 'drizzle-orm/pg-core'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type { Knex } from 'knex'
import type { ControlledTransaction, Kysely, Transaction as TransactionOfKysely } from 'kysely'
import type pg from 'pg'
import type postgres from 'postgres'
import type { Bugle, SendInTransaction } from '../../src/index.js'
import { fromDrizzle, fromKnex, fromKysely, fromPrisma } from '../../src/transactions/adapters.js'
import type { PrismaClient } from '../support/prisma.js'
import { type Equal, is } from './equal.js'

export async function kysely(bugle: Bugle, db: Kysely<{ account: { name: string } }>): Promise<void> {
  await db.transaction().execute(async (trx) => {
    is<Equal<ReturnType<typeof fromKysely>, SendInTransaction>>()
    await bugle.put('emails', 1, { tx: fromKysely(trx) })
    await bugle.putMany('emails', [1], { tx: fromKysely(trx.withSchema('mine')) })
    await bugle.put('emails', 1, { tx: trx })
    // @ts-expect-error another library's
    fromDrizzle(trx)
    // @ts-expect-error another library's
    fromKnex(trx)
    // @ts-expect-error another library's
    fromPrisma(trx)
  })
  const controlled = await db.startTransaction().execute()
  fromKysely(controlled)
  fromKysely(await controlled.savepoint('here').execute())
  // @ts-expect-error a Kysely that is no transaction
  fromKysely(db)
  // @ts-expect-error a Kysely that is no transaction
  await bugle.put('emails', 1, { tx: db })
  // @ts-expect-error one connection is no transaction
  await db.connection().execute(async (one) => fromKysely(one))
}

/** Whatever the tables are. */
export function anyKysely<Tables>(trx: TransactionOfKysely<Tables>, controlled: ControlledTransaction<Tables>): void {
  fromKysely(trx)
  fromKysely(controlled)
}

const account = pgTable('account', { name: text() })

export async function drizzle(
  bugle: Bugle,
  nodePostgres: NodePgDatabase,
  postgresJs: PostgresJsDatabase<{ account: typeof account }>,
): Promise<void> {
  await nodePostgres.transaction(async (tx) => {
    is<Equal<ReturnType<typeof fromDrizzle>, SendInTransaction>>()
    await bugle.put('emails', 1, { tx: fromDrizzle(tx) })
    await tx.transaction(async (nested) => bugle.put('emails', 1, { tx: fromDrizzle(nested) }))
    await bugle.put('emails', 1, { tx })
    // @ts-expect-error another library's
    fromKysely(tx)
    // @ts-expect-error another library's
    fromKnex(tx)
    // @ts-expect-error another library's
    fromPrisma(tx)
  })
  await postgresJs.transaction(async (tx) => bugle.putMany('emails', [1], { tx: fromDrizzle(tx) }))
  // @ts-expect-error a database is no transaction
  fromDrizzle(nodePostgres)
  // @ts-expect-error a database is no transaction
  await bugle.put('emails', 1, { tx: nodePostgres })
  // @ts-expect-error a database is no transaction
  fromDrizzle(postgresJs)
}

/** Whichever driver is beneath. */
export function anyDrizzle<Result extends PgQueryResultHKT>(
  tx: PgTransaction<Result>,
  db: PgDatabase<Result>,
): SendInTransaction {
  // @ts-expect-error a database is no transaction
  fromDrizzle(db)
  return fromDrizzle(tx)
}

export async function knex(bugle: Bugle, db: Knex): Promise<void> {
  await db.transaction(async (trx) => {
    is<Equal<ReturnType<typeof fromKnex>, SendInTransaction>>()
    await bugle.put('emails', 1, { tx: fromKnex(trx) })
    await trx.transaction(async (nested) => bugle.put('emails', 1, { tx: fromKnex(nested) }))
    await bugle.put('emails', 1, { tx: trx })
    // @ts-expect-error another library's
    fromKysely(trx)
    // @ts-expect-error another library's
    fromDrizzle(trx)
    // @ts-expect-error another library's
    fromPrisma(trx)
  })
  fromKnex(await db.transaction())
  fromKnex(await db.transactionProvider()())
  // @ts-expect-error a Knex that is no transaction
  fromKnex(db)
  // @ts-expect-error a Knex that is no transaction
  await bugle.put('emails', 1, { tx: db })
}

/** Whatever the records are. */
export function typedKnex(trx: Knex.Transaction<{ name: string }, { name: string }[]>): SendInTransaction {
  return fromKnex(trx)
}

// What is generated is not here. This is how Prisma itself types a client with extensions, of a schema without models.
type RawQuery = { args: [query: string, ...values: unknown[]]; result: unknown }
type TypeMap = {
  meta: { modelProps: never; txIsolationLevel: 'Serializable' }
  model: Record<never, never>
  other: { payload: unknown; operations: { $queryRawUnsafe: RawQuery; $executeRawUnsafe: RawQuery } }
}
type ExtendedClient = DynamicClientExtensionThis<TypeMap, TypeMapCbDef, DefaultArgs>

export async function prisma(bugle: Bugle, client: ExtendedClient, plain: PrismaClient): Promise<void> {
  await client.$transaction(async (tx) => {
    is<Equal<ReturnType<typeof fromPrisma>, SendInTransaction>>()
    await bugle.put('emails', 1, { tx: fromPrisma(tx) })
    await bugle.put('emails', 1, { tx })
    // @ts-expect-error another library's
    fromKysely(tx)
    // @ts-expect-error another library's
    fromDrizzle(tx)
    // @ts-expect-error another library's
    fromKnex(tx)
  })
  const inside: Omit<ExtendedClient, ITXClientDenyList> = client
  fromPrisma(inside)
  await plain.$transaction(async (tx) => bugle.put('emails', 1, { tx: fromPrisma(tx) }))
  // @ts-expect-error a client is no transaction
  fromPrisma(client)
  // @ts-expect-error a client is no transaction
  fromPrisma(plain)
  // @ts-expect-error a client is no transaction
  await bugle.put('emails', 1, { tx: plain })
}

export async function drivers(bugle: Bugle, client: pg.PoolClient, sql: postgres.Sql): Promise<void> {
  await bugle.put('emails', 1, { tx: client })
  await sql.begin((tx) => bugle.put('emails', 1, { tx }))
  // @ts-expect-error a pool is no transaction
  await bugle.put('emails', 1, { tx: sql })
}

export function others(client: pg.PoolClient): void {
  // @ts-expect-error a pg client needs no adapter
  fromKysely(client)
  // @ts-expect-error not a transaction at all
  fromKysely({})
  // @ts-expect-error a pg client needs no adapter
  fromDrizzle(client)
  // @ts-expect-error not a transaction at all
  fromDrizzle({})
  // @ts-expect-error a pg client needs no adapter
  fromKnex(client)
  // @ts-expect-error not a transaction at all
  fromKnex({})
  // @ts-expect-error a pg client needs no adapter
  fromPrisma(client)
  // @ts-expect-error not a transaction at all
  fromPrisma({})
}
