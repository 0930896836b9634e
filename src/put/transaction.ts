import type { SqlValue } from '../database/pool.js'
import { BugleError } from '../errors.js'

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
 */
export function inTransaction(tx: unknown): <Row>(text: string, values: readonly SqlValue[]) => Promise<Row[]> {
  const send = sender(tx)
  return async <Row>(text: string, values: readonly SqlValue[]) => {
    const answer: unknown = await send(text, [...values])
    const rows = Array.isArray(answer) ? answer : (answer as { rows?: unknown } | null)?.rows
    if (!Array.isArray(rows)) {
      throw new BugleError('INVALID_OPTION', 'tx must resolve to the rows as an array, or to an object with rows')
    }
    return rows as Row[]
  }
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
    return (text, values) => (tx as unknown as PgClient).query(text, values)
  }
  throw notTransaction(tx === null ? 'null' : typeof tx)
}

function notTransaction(got: string): BugleError {
  return new BugleError(
    'INVALID_OPTION',
    'tx must be a postgres.js transaction, a pg client, what fromKysely, fromDrizzle, fromKnex or fromPrisma ' +
      `returns, or a function (text, values) => rows; got ${got}`,
  )
}
