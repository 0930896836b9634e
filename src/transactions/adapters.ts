/**
 * Transactions of other libraries as functions that send. Structural: none of the libraries is imported, and each is
 * known by what its documented transaction object can do. What is no transaction is refused: on a pool or a client the
 * job would commit by itself.
 *
 * `tx` of `put` takes the library's own object as well (recognise.ts).
 */
import { kindOf } from '../checks.js'
import type { SqlValue } from '../database/pool.js'
import { databaseFault, isKeyConflict, isKeyTaken } from '../database/verdict.js'
import { BugleError } from '../errors.js'
import type { SendInTransaction } from './send.js'

/** What Kysely's `db.transaction().execute` gives its callback, or `db.startTransaction().execute()` resolves with. */
export interface KyselyTransaction {
  readonly isTransaction: true
  /** The same transaction, for statements that no plugin is to see. */
  withoutPlugins(): {
    /** Sends text, with parameters. */
    executeQuery(query: KyselyQuery): Promise<{ rows: unknown[] }>
  }
}

/** Kysely's CompiledQuery of a text. */
interface KyselyQuery {
  readonly sql: string
  readonly parameters: readonly unknown[]
  readonly query: {
    readonly kind: 'RawNode'
    readonly sqlFragments: readonly string[]
    readonly parameters: readonly never[]
  }
  readonly queryId: { readonly queryId: string }
}

/** What Drizzle's `db.transaction` gives its callback, whichever PostgreSQL driver is beneath. */
export interface DrizzleTransaction {
  /** Takes a query object as well; Drizzle's type of that is nominal, and cannot be written here. */
  execute(query: string): PromiseLike<unknown>
  /** A transaction has it, a database has not. */
  rollback(): never
}

/** What `knex.transaction` gives its callback, or resolves with. */
export interface KnexTransaction {
  /** Sends text, with `?` for parameters. */
  raw(sql: string, bindings: readonly SqlValue[]): PromiseLike<unknown>
  readonly isTransaction?: boolean | undefined
  /** Whether it was committed or rolled back already. */
  isCompleted(): boolean
}

/** What Prisma's `prisma.$transaction` gives its callback. */
export interface PrismaTransaction {
  /** Sends text, with parameters. */
  $queryRawUnsafe(query: string, ...values: SqlValue[]): PromiseLike<unknown>
  /** A client has it, a transaction has not. */
  readonly $connect?: undefined
}

/**
 * What is sent commits or rolls back with a Kysely transaction.
 *
 * The transaction's plugins see neither the statement nor its rows.
 *
 * @throws BugleError `INVALID_OPTION`, at once, for a Kysely that is no transaction, and for anything else
 * @see https://kysely-org.github.io/kysely-apidoc/classes/Transaction.html
 * @example
 * ```ts
 * await db.transaction().execute(async (trx) => {
 *   await trx.insertInto('account').values({ name: 'Ada' }).execute()
 *   await bugle.put('emails', { to: 'ada@example.org' }, { tx: fromKysely(trx) })
 * })
 * ```
 */
export function fromKysely(trx: KyselyTransaction): SendInTransaction {
  const takes = 'fromKysely takes a Kysely transaction, what db.transaction().execute gives its callback'
  if (!can(trx, 'executeQuery', 'withoutPlugins')) throw refused(takes, kindOf(trx))
  if (trx.isTransaction !== true) throw refused(takes, 'a Kysely that is no transaction')
  // A plugin may rename the columns of any answer, or parse what looks like JSON.
  const plain = trx.withoutPlugins()
  return async (text, values) => {
    const query = { kind: 'RawNode', sqlFragments: [text], parameters: [] } as const
    const answer = await plain.executeQuery({ sql: text, parameters: values, query, queryId: { queryId: 'bugle' } })
    return answer as { rows: object[] }
  }
}

/**
 * What is sent commits or rolls back with a Drizzle transaction, of node-postgres, postgres.js or another PostgreSQL
 * driver.
 *
 * @throws BugleError `INVALID_OPTION`, at once, for a Drizzle database, and for anything else
 * @see https://orm.drizzle.team/docs/transactions
 * @example
 * ```ts
 * await db.transaction(async (tx) => {
 *   await tx.insert(account).values({ name: 'Ada' })
 *   await bugle.put('emails', { to: 'ada@example.org' }, { tx: fromDrizzle(tx) })
 * })
 * ```
 */
export function fromDrizzle(tx: DrizzleTransaction): SendInTransaction {
  const takes = 'fromDrizzle takes a Drizzle transaction, what db.transaction gives its callback'
  if (!can(tx, 'execute')) throw refused(takes, kindOf(tx))
  if (!can(tx, 'rollback')) throw refused(takes, 'a Drizzle database')
  return async (text, values) => {
    // An SQL object, as far as `execute` asks one: Drizzle's own would be built from pieces, not from a text with $1.
    const query = { getSQL: () => ({ toQuery: () => ({ sql: text, params: values }) }) }
    try {
      return (await tx.execute(query as unknown as string)) as object[] | { rows: object[] }
    } catch (error) {
      throw telling(error, (error as Error | null)?.cause)
    }
  }
}

/**
 * What is sent commits or rolls back with a Knex transaction.
 *
 * A `postProcessResponse` of the Knex sees the answer, as that of every raw query: it must leave its `rows` as they
 * are.
 *
 * @throws BugleError `INVALID_OPTION`, at once, for a Knex that is no transaction, and for anything else
 * @see https://knexjs.org/guide/transactions.html
 * @example
 * ```ts
 * await knex.transaction(async (trx) => {
 *   await trx('account').insert({ name: 'Ada' })
 *   await bugle.put('emails', { to: 'ada@example.org' }, { tx: fromKnex(trx) })
 * })
 * ```
 */
export function fromKnex(trx: KnexTransaction): SendInTransaction {
  const takes = 'fromKnex takes a Knex transaction, what knex.transaction gives its callback'
  if (!can(trx, 'raw')) throw refused(takes, kindOf(trx))
  if (trx.isTransaction !== true) throw refused(takes, 'a Knex that is no transaction')
  return async (text, values) => {
    const { sql, bindings } = withQuestionMarks(text, values)
    return (await trx.raw(sql, bindings)) as { rows: object[] }
  }
}

/**
 * What is sent commits or rolls back with an interactive transaction of Prisma.
 *
 * @throws BugleError `INVALID_OPTION`, at once, for a Prisma client, and for anything else
 * @see https://www.prisma.io/docs/orm/prisma-client/queries/transactions#interactive-transactions
 * @example
 * ```ts
 * await prisma.$transaction(async (tx) => {
 *   await tx.account.create({ data: { name: 'Ada' } })
 *   await bugle.put('emails', { to: 'ada@example.org' }, { tx: fromPrisma(tx) })
 * })
 * ```
 */
export function fromPrisma(tx: PrismaTransaction): SendInTransaction {
  const takes = 'fromPrisma takes an interactive transaction, what prisma.$transaction gives its callback'
  if (!can(tx, '$queryRawUnsafe')) throw refused(takes, kindOf(tx))
  // Not `$transaction`: since Prisma 7 a transaction has it as well, for savepoints.
  if (can(tx, '$connect')) throw refused(takes, 'a Prisma client')
  return async (text, values) => {
    try {
      return (await tx.$queryRawUnsafe(text, ...values)) as object[]
    } catch (error) {
      throw telling(error, beneathPrisma(error))
    }
  }
}

/** Whether a value, a function perhaps, has methods of these names. */
export function can(value: unknown, ...methods: string[]): boolean {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return methods.every((method) => typeof (value as Record<string, unknown>)[method] === 'function')
}

function refused(takes: string, got: string): BugleError {
  return new BugleError('INVALID_OPTION', `${takes}; got ${got}`)
}

/**
 * A text with $1, $2, … and its values as Knex wants them: a `?` for each use of a value.
 *
 * Whatever is quoted or a comment stays as PostgreSQL reads it, though it hold `?` or `$1`: a schema's name may. For
 * the statements in sql/, which have neither E'' strings nor dollar quotes.
 */
function withQuestionMarks(text: string, values: readonly SqlValue[]): { sql: string; bindings: SqlValue[] } {
  const bindings: SqlValue[] = []
  const pieces = /"(?:[^"]|"")*"|'(?:[^']|'')*'|\/\*.*?\*\/|--[^\n]*|\$(\d+)|\?/gs
  const sql = text.replace(pieces, (piece, number?: string) => {
    if (number !== undefined) {
      bindings.push(values[Number(number) - 1] ?? null)
      return '?'
    }
    if (!piece.includes('?')) return piece
    // Knex reads \? as a question mark, but after a backslash of the name's own it cannot be told any: so no ? at all.
    if (piece.startsWith('"')) return `U&${piece.replaceAll('\\', '\\\\').replaceAll('?', '\\003F')}`
    return piece.replaceAll('?', '\\?')
  })
  return { sql, bindings }
}

/**
 * The error to throw, of a library that wraps the database's own error in one without its SQLSTATE.
 *
 * @returns what is beneath where `put` has a code for it; otherwise the library's error, by which its users recognise,
 *   say, a transaction to try again
 */
function telling(error: unknown, beneath: unknown): unknown {
  // A unique violation of a key: KEY_TAKEN, though to a statement of a consumer's it is one that passes.
  if (isKeyConflict(beneath) || isKeyTaken(beneath)) return beneath
  const fault = databaseFault(beneath)
  return fault === 'other' || fault === 'passing' ? error : beneath
}

/** The database's error as Prisma describes it. */
interface PrismaError {
  readonly meta?: {
    readonly driverAdapterError?: {
      readonly cause?: {
        readonly kind?: string
        readonly originalCode?: string
        readonly originalMessage?: string
      }
    }
  }
}

function beneathPrisma(error: unknown): Error | undefined {
  const told = (error as PrismaError | null)?.meta?.driverAdapterError?.cause
  // A socket's error is told without its code. There was a connection, so the statement may have been sent.
  const isLost = told?.kind === 'ConnectionClosed' || told?.kind === 'SocketTimeout'
  const code = told?.originalCode ?? (isLost ? 'CONNECTION_CLOSED' : undefined)
  if (code === undefined) return undefined
  const message = told?.originalMessage ?? 'the connection was lost'
  return Object.assign(new Error(message, { cause: error }), { code })
}
