import type { Database } from '../database/database.js'
import { type CallEffect, callError, despiteDeadlocks } from '../database/fault.js'
import type { SqlValue } from '../database/pool.js'
import type { StatementName } from '../database/statements.js'

/** What an operator's calls need. */
export interface AdminParts {
  readonly database: Database
  /** What is stored as a payload, result or progress, as the application knows it. Default: as it is stored. */
  readonly decode?: (stored: unknown) => unknown
}

/**
 * One statement of an operator's call.
 *
 * @param call - its name, and what it may have done when this statement fails
 * @throws BugleError `DATABASE_DOWN`, `RESULT_UNKNOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`;
 *   PostgreSQL's error
 */
export async function send<Row>(
  database: Database,
  statement: StatementName,
  parameters: readonly SqlValue[],
  call: { readonly name: string; readonly effect: CallEffect },
): Promise<Row[]> {
  await database.ready()
  try {
    return await despiteDeadlocks(() => database.query<Row>(statement, parameters))
  } catch (error) {
    throw callError(call.name, error, call.effect)
  }
}

/** As `send`, of a statement that answers with exactly one row. */
export async function sendForOne<Row>(...args: Parameters<typeof send>): Promise<Row> {
  const [row] = await send<Row>(...args)
  if (row === undefined) throw new Error(`${args[1]}: the database answered without a row`)
  return row
}
