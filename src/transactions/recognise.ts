/**
 * Whose transaction `tx` is. Every library is known by what its documented transaction object alone can do; what looks
 * like a library's database, client or pool is refused by name, since on it the job would commit by itself. Structural:
 * no library is imported, so that of any version and copy is known.
 *
 * The order matters: several of these objects have a `query` as a pg client has, so the drivers come last.
 */
import { types } from 'node:util'
import { kindOf } from '../checks.js'
import { BugleError } from '../errors.js'
import {
  can,
  type DrizzleTransaction,
  fromDrizzle,
  fromKnex,
  fromKysely,
  fromPrisma,
  type KnexTransaction,
  type KyselyTransaction,
  type PrismaTransaction,
} from './adapters.js'
import type { SendInTransaction } from './send.js'

/** What we use of a postgres.js transaction. */
export interface PostgresJsTransaction {
  /** Sends text, with parameters. */
  unsafe(text: string, values?: never[]): PromiseLike<readonly object[]>
  savepoint: unknown
}

/** What we use of a `pg` client. */
export interface PgClient {
  /** Sends text, with parameters. */
  query(text: string, values?: unknown[]): Promise<{ rows: object[] }>
}

/** What we use of a MikroORM EntityManager: what is beneath it, a Knex or Kysely transaction by its version. */
export interface MikroOrmManager {
  /** The transaction beneath; undefined: there is none. */
  getTransactionContext(): unknown
  /** Not called: by it the type is told from others. */
  isInTransaction(): boolean
}

/** What we know a Sequelize transaction by; we use the connection that it has. */
export interface SequelizeTransaction {
  /** Not called. */
  afterCommit(called: (transaction: never) => unknown): unknown
  /** Not called. */
  rollback(): Promise<unknown>
}

/**
 * How to send in the transaction that was given.
 *
 * @throws BugleError `INVALID_OPTION` for anything else; the message says what it is taken for, and what to give
 */
export function sendIn(tx: unknown): SendInTransaction {
  if (can(tx, '$queryRawUnsafe')) return fromPrisma(tx as PrismaTransaction)
  if (can(tx, 'executeQuery', 'withoutPlugins')) return fromKysely(tx as KyselyTransaction)
  // Of version 5 it has `raw` as well.
  if (can(tx, 'getTransactionContext')) return inMikroOrm(tx as MikroOrmManager)
  // A Knex is a function: taken for one that sends, it would take the text for the name of a table.
  if (can(tx, 'raw')) return fromKnex(tx as KnexTransaction)
  if (can(tx, 'afterCommit', 'rollback')) return inSequelize(tx as SequelizeTransaction)
  if (can(tx, 'query') && isOfTypeOrm(tx as object)) return inTypeOrm(tx as object)
  if (can(tx, 'execute', 'transaction')) return fromDrizzle(tx as DrizzleTransaction)
  if (can(tx, 'unsafe')) return inPostgresJs(tx as PostgresJsTransaction)
  if (typeof tx === 'function') return tx as SendInTransaction
  if (can(tx, 'query', 'transaction')) {
    throw notTransaction('what has query() and transaction(), and is none of these: pass a function')
  }
  if (can(tx, 'query')) return inPg(tx as PgClient)
  throw notTransaction(types.isPromise(tx) ? 'a promise: await it' : kindOf(tx))
}

/** It holds one of another library's. */
function inMikroOrm(manager: MikroOrmManager): SendInTransaction {
  const beneath = manager.getTransactionContext()
  if (beneath !== undefined && beneath !== null) return sendIn(beneath)
  throw notTransaction('a MikroORM EntityManager without a transaction: pass the one that em.transactional() gives')
}

function inSequelize(transaction: SequelizeTransaction): SendInTransaction {
  const { connection, finished } = transaction as { connection?: unknown; finished?: unknown }
  if (finished !== undefined) throw notTransaction(`a Sequelize transaction that is over (${String(finished)})`)
  if (can(connection, 'query')) return inPg(connection as PgClient)
  throw notTransaction('a Sequelize transaction without a connection to PostgreSQL')
}

/** An EntityManager, a QueryRunner or a DataSource. */
function isOfTypeOrm(object: object): boolean {
  return 'isTransactionActive' in object || can(object, 'createQueryBuilder')
}

/** What we use of a QueryRunner of TypeORM. */
interface QueryRunner {
  readonly isTransactionActive: boolean
  query(text: string, values: unknown[], isStructured: true): Promise<unknown>
}

function inTypeOrm(given: object): SendInTransaction {
  const holder = given as Partial<QueryRunner> & { readonly queryRunner?: QueryRunner }
  const runner = ('isTransactionActive' in holder ? holder : holder.queryRunner) as QueryRunner | undefined
  if (runner?.isTransactionActive !== true) {
    throw notTransaction('what TypeORM has outside of a transaction: pass what dataSource.transaction() gives')
  }
  return async (text, values) => {
    // Without the last argument rows come beside a count after some statements, and alone after others.
    const answer = (await runner.query(text, values, true)) as { records?: object[] } | object[] | undefined
    return (Array.isArray(answer) ? answer : answer?.records) as object[]
  }
}

function inPostgresJs(tx: PostgresJsTransaction): SendInTransaction {
  // An instance is a pool, and has begin; a transaction has savepoint.
  if (!('savepoint' in tx)) throw notTransaction('a postgres.js instance: pass what sql.begin gives its callback')
  return async (text, values) => tx.unsafe(text, values as never[])
}

function inPg(client: PgClient): SendInTransaction {
  if ('totalCount' in client) throw notTransaction('a pg pool: pass the client that pool.connect() gave you')
  // The database of pg-promise, the plugin of Fastify.
  if ('$pool' in client || 'pool' in client) throw notTransaction('what has a pool: pass a transaction that it gives')
  return async (text, values) => {
    if (isIdle(client)) throw notTransaction('a pg client outside of a transaction: put between its BEGIN and COMMIT')
    return client.query(text, values)
  }
}

/**
 * Whether the server has said that no transaction is open, and nothing was sent since: a BEGIN that is on its way
 * counts. A client of another kind, or of before pg 8.19, does not tell.
 */
function isIdle(client: object): boolean {
  const { readyForQuery, getTransactionStatus } = client as { readyForQuery?: unknown; getTransactionStatus?: unknown }
  if (readyForQuery !== true || typeof getTransactionStatus !== 'function') return false
  return getTransactionStatus.call(client) === 'I'
}

function notTransaction(got: string): BugleError {
  return new BugleError(
    'INVALID_OPTION',
    'tx must be a transaction of pg, postgres.js, Kysely, Drizzle, Knex, Prisma, TypeORM, MikroORM or Sequelize, as ' +
      `the library gives it, or a function (text, values) => rows; got ${got}`,
  )
}
