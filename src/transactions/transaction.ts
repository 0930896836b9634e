import { kindOf } from '../checks.js'
import type { SqlValue } from '../database/pool.js'
import { sqlState } from '../database/verdict.js'
import { BugleError, toError } from '../errors.js'
import type { DrizzleTransaction, KnexTransaction, KyselyTransaction, PrismaTransaction } from './adapters.js'
import {
  type MikroOrmManager,
  type PgClient,
  type PostgresJsTransaction,
  type SequelizeTransaction,
  sendIn,
} from './recognise.js'
import type { SendInTransaction } from './send.js'

/** What `tx` may be. Structural: no library is needed to type it. */
export type Transaction =
  /** A postgres.js transaction: what `sql.begin` hands to its callback. */
  | PostgresJsTransaction
  /** A pg client, between its BEGIN and COMMIT; an EntityManager or QueryRunner of TypeORM, in a transaction. */
  | PgClient
  | KyselyTransaction
  | DrizzleTransaction
  | KnexTransaction
  | PrismaTransaction
  /** An EntityManager of MikroORM, in `transactional`. */
  | MikroOrmManager
  | SequelizeTransaction
  /** What `fromKysely`, `fromDrizzle`, `fromKnex` and `fromPrisma` return; write one for any other library. */
  | SendInTransaction

/**
 * One way to send, whichever kind of transaction was given.
 *
 * @throws BugleError `INVALID_OPTION` for anything else: above all for a pool, on which the job would commit by itself
 * @returns rejects with `INVALID_OPTION` where the transaction may not write; otherwise with the driver's error
 */
export function inTransaction(tx: unknown): <Row>(text: string, values: readonly SqlValue[]) => Promise<Row[]> {
  const send = sendIn(tx)
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
