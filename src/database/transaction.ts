import { kindOf } from '../checks.js'
import { BugleError, toError } from '../errors.js'
import type { SqlValue } from './pool.js'
import { sqlState } from './verdict.js'

/** Sends one statement in the caller's transaction; the rows as objects, or a result that has them in `rows`. */
export type SendInTransaction = (
  text: string,
  values: (string | number | null)[],
) => Promise<readonly object[] | { readonly rows: readonly object[] }>

/** What `tx` may be. Structural: neither driver is needed to type it. */
export type Transaction =
  /** A postgres.js transaction: what `sql.begin` hands to its callback. */
  | PostgresJsTransaction
  /** A pg client, between its BEGIN and COMMIT. */
  | PgClient
  /** What `fromKysely`, `fromDrizzle`, `fromKnex` and `fromPrisma` return; write one for any other library. */
  | SendInTransaction

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

/**
 * One way to send, whichever kind of transaction was given.
 *
 * @throws BugleError `INVALID_OPTION` for anything else: above all for a pool, on which the job would commit by itself
 * @returns rejects with `INVALID_OPTION` where the transaction may not write; otherwise with the driver's error
 */
export function inTransaction(tx: unknown): <Row>(text: string, values: readonly SqlValue[]) => Promise<Row[]> {
  const send = sender(tx)
  return async <Row>(text: string, values: readonly SqlValue[]) => {
    try {
      return rowsOf(await send(text, [...values])) as Row[]
    } catch (error) {
      throw sqlState(error) === '25006' ? readOnly(error) : error
    }
  }
}

/** Of our own sessions that is a server to leave; a transaction of the caller's is the caller's to begin otherwise. */
function readOnly(error: unknown): BugleError {
  return new BugleError(
    'INVALID_OPTION',
    `tx must be a transaction that may write; got one that is read only (${toError(error).message}): begin it READ ` +
      'WRITE, and on the primary, not on a standby',
    { cause: error },
  )
}

function rowsOf(answer: unknown): readonly object[] {
  const rows = Array.isArray(answer) ? answer : (answer as { rows?: unknown } | null | undefined)?.rows
  if (!Array.isArray(rows)) throw notRows(isObject(answer) ? `an object with ${kindOf(rows)} as rows` : kindOf(answer))
  for (const row of rows) {
    // Some libraries resolve with the rows and something about them: [rows, metadata].
    if (Array.isArray(row)) throw notRows('an array in an array: of rows and metadata return the rows alone')
    if (!isObject(row)) throw notRows(`an array with ${kindOf(row)} in it`)
  }
  return rows
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

function notRows(got: string): BugleError {
  const rule = 'tx must resolve to the rows as an array of objects, or to an object with such rows'
  return new BugleError('INVALID_OPTION', `${rule}; got ${got}. Roll the transaction back: the statement has run`)
}

function sender(tx: unknown): (text: string, values: SqlValue[]) => PromiseLike<unknown> {
  if (typeof tx === 'function') {
    // A Knex is a function too: it would take the text for the name of a table.
    if ('raw' in tx) throw notTransaction('a Knex')
    if (!('unsafe' in tx)) return tx as (text: string, values: SqlValue[]) => PromiseLike<unknown>
    // A postgres.js instance is a pool, and has begin; its transaction has savepoint.
    if (!('savepoint' in tx)) throw notTransaction('a postgres.js instance: pass what sql.begin gives its callback')
    return (text, values) => (tx as unknown as PostgresJsTransaction).unsafe(text, values as never[])
  }
  if (typeof tx === 'object' && tx !== null && 'query' in tx && typeof tx.query === 'function') {
    if ('totalCount' in tx) throw notTransaction('a pg pool: pass the client that pool.connect() gave you')
    return async (text, values) => {
      if (isIdle(tx)) throw notTransaction('a pg client outside of a transaction: put between its BEGIN and COMMIT')
      return (tx as unknown as PgClient).query(text, values)
    }
  }
  throw notTransaction(tx === null ? 'null' : typeof tx)
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
    'tx must be a postgres.js transaction, a pg client, what fromKysely, fromDrizzle, fromKnex or fromPrisma ' +
      `returns, or a function (text, values) => rows; got ${got}`,
  )
}
