import type { Database } from '../database/database.js'
import type { Parameter } from '../database/pool.js'
import type { StatementName } from '../database/statements.js'
import { BugleError, databaseFault, toError } from '../errors.js'
import { type PutOptions, resolvePutOptions } from '../options.js'
import { encodePayload } from '../payload.js'
import { inTransaction } from './transaction.js'

/**
 * Insert one job.
 *
 * @param queue - a checked name
 * @returns the new job's id
 * @throws BugleError `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `INVALID_OPTION`: nothing was sent; `DATABASE_DOWN`,
 *   `NOT_MIGRATED`, `SCHEMA_TOO_NEW`: nothing was written; `RESULT_UNKNOWN`
 * @see sql/statements/put.sql
 */
export async function put(
  database: Database,
  maxPayloadBytes: number,
  queue: string,
  payload: unknown,
  options: PutOptions | undefined,
): Promise<string> {
  const { priority, tx } = resolvePutOptions(options)
  const text = encodePayload(payload, { what: 'payload', maxBytes: maxPayloadBytes })
  const [row] = await write<{ id: string }>(database, tx, 'put', [queue, text, priority])
  if (row === undefined) throw new Error('put: the database answered without an id')
  return row.id
}

/**
 * Insert many jobs of one queue, in one statement: all of them or none.
 *
 * @param options - for all, or a function that is asked for each
 * @returns the new ids, in the order of the payloads
 * @throws as `put`; the message names the index of the payload at fault
 * @see sql/statements/put_many.sql
 */
export async function putMany(
  database: Database,
  maxPayloadBytes: number,
  queue: string,
  payloads: readonly unknown[],
  options: PutOptions | PutOptionsOf<unknown> | undefined,
): Promise<string[]> {
  if (!Array.isArray(payloads)) {
    throw new BugleError('INVALID_PAYLOAD', 'putMany takes an array of payloads')
  }
  const optionsOf = typeof options === 'function' ? options : () => undefined
  const common = typeof options === 'function' ? undefined : resolvePutOptions(options)
  let tx = common?.tx
  // Array.from: a hole is an undefined payload, and refused as one.
  const jobs = Array.from(payloads, (payload: unknown, index) => {
    const text = encodePayload(payload, { what: `payloads[${index}]`, maxBytes: maxPayloadBytes })
    const own = common ?? resolvePutOptions(optionsOf(payload, index))
    if (index === 0) tx = own.tx
    else if (own.tx !== tx) throw new BugleError('INVALID_OPTION', 'putMany: tx must be the same for all jobs')
    return `{"payload":${text},"priority":${own.priority}}`
  })
  if (jobs.length === 0) return []
  const rows = await write<{ id: string }>(database, tx, 'put_many', [queue, joined(jobs)])
  return rows.map((row) => row.id)
}

function joined(jobs: readonly string[]): string {
  try {
    return `[${jobs.join(',')}]`
  } catch (error) {
    // A string of V8's holds half a gigabyte.
    throw new BugleError('PAYLOAD_TOO_LARGE', `putMany: ${jobs.length} jobs are more than one statement can hold`, {
      cause: error,
    })
  }
}

/** Options of each job; `tx` must be the same for all. */
export type PutOptionsOf<Payload> = (payload: Payload, index: number) => PutOptions | undefined

async function write<Row>(
  database: Database,
  tx: unknown,
  statement: StatementName,
  parameters: readonly Parameter[],
): Promise<Row[]> {
  const send = tx === undefined ? undefined : inTransaction(tx)
  await database.ready()
  try {
    if (send !== undefined) return await send<Row>(database.statements[statement], parameters)
    return await database.query<Row>(statement, parameters)
  } catch (error) {
    throw writeError(error)
  }
}

/**
 * A failed write as its caller should see it.
 *
 * @returns a BugleError, or the driver's own error where no code of ours says it better
 */
function writeError(error: unknown): Error {
  if (error instanceof BugleError) return error
  const { message } = toError(error)
  const cause = { cause: error }
  switch (databaseFault(error)) {
    case 'down':
      return new BugleError('DATABASE_DOWN', `put: nothing was written: ${message}`, cause)
    case 'unknown':
      return new BugleError('RESULT_UNKNOWN', `put: the answer was lost, it may have been written: ${message}`, cause)
    case 'not-migrated':
      return new BugleError('NOT_MIGRATED', `put: ${message}: run \`await bugle.migrate()\``, cause)
    case 'data':
      return new BugleError('INVALID_PAYLOAD', `put: the database refused the data: ${message}`, cause)
    default:
      return toError(error)
  }
}
