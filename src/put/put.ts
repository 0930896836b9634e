import { kindOf, synchronous } from '../checks.js'
import type { Database } from '../database/database.js'
import { callError, despiteConflicts, despiteDeadlocks } from '../database/fault.js'
import type { SqlValue } from '../database/pool.js'
import type { StatementName } from '../database/statements.js'
import { databaseFault, isKeyConflict, isKeyTaken, violatedIndex } from '../database/verdict.js'
import { BugleError, describe, toError } from '../errors.js'
import type { Payloads } from '../payloads.js'
import { inTransaction } from '../transactions/transaction.js'
import { type KeyedJob, resolveKeys } from './keys.js'
import { type PutOptions, type PutOptionsOf, type ResolvedPutOptions, resolvePutOptions } from './options.js'

interface PutParts {
  readonly database: Database
  readonly payloads: Payloads
}

interface IdRow {
  readonly id: string
  readonly key: string | null
}

/**
 * Insert one job.
 *
 * @param queue - a checked name
 * @returns the new job's id; with a key that another job has, and the modes 'keep' and 'replace', that job's
 * @throws BugleError `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `VALIDATION_FAILED`, `INVALID_OPTION`: nothing was sent;
 *   `KEY_TAKEN`, `ID_TAKEN`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`: nothing was written;
 *   `RESULT_UNKNOWN`
 * @see sql/statements/put.sql
 */
export async function put(
  { database, payloads }: PutParts,
  queue: string,
  payload: unknown,
  options: PutOptions | undefined,
): Promise<string> {
  const own = resolvePutOptions(options)
  const { tx, priority, kind, key, keyMode } = own
  const text = await payloads.encodeJob(queue, kind, payload, 'payload')
  const [row] = isPlain(own)
    ? await write<IdRow>(database, tx, 'put', [queue, text, priority, kind])
    : await write<IdRow>(
        database,
        tx,
        ...statementFor(queue, `[${jobText(text, own)}]`, key === null ? null : keyMode, 'one'),
      )
  if (row !== undefined) return idOf(row)
  if (key !== null && keyMode !== 'keep')
    throw keyTaken(keyMode, `a job of the queue ${describe(queue)} has the key ${describe(key)}`)
  throw withoutRows(1, 0)
}

/**
 * Insert many jobs of one queue, in one statement: all of them or none.
 *
 * @param options - for all, or a function that is asked for each
 * @returns the ids, in the order of the payloads; where several have one key, the same id for each
 * @throws as `put`; the message names the index of the payload at fault
 * @see sql/statements/put_many.sql
 */
export async function putMany(
  { database, payloads: ways }: PutParts,
  queue: string,
  payloads: readonly unknown[],
  options: PutOptions | PutOptionsOf<unknown> | undefined,
): Promise<string[]> {
  if (!Array.isArray(payloads)) {
    throw new BugleError('INVALID_PAYLOAD', `putMany: payloads must be an array; got ${kindOf(payloads)}`)
  }
  const common = typeof options === 'function' ? undefined : resolvePutOptions(options)
  const jobs: KeyedJob[] = []
  let first = common
  let allPlain = true
  let keyMode: KeyedJob['keyMode'] | null = null
  // entries: a hole is an undefined payload, and refused as one.
  for (const [index, payload] of payloads.entries()) {
    const own = common ?? optionsOfOne(options, payload, index)
    first ??= own
    demandSame('tx', index, own.tx, first.tx)
    allPlain &&= isPlain(own)
    if (own.key !== null) {
      keyMode ??= own.keyMode
      demandSame('keyMode', index, own.keyMode, keyMode)
    }
    const text = ways.encodeJob(queue, own.kind, payload, `payloads[${index}]`)
    // No await where there is no schema: a batch of thousands is encoded in one go.
    jobs.push({ key: own.key, keyMode: own.keyMode, text: jobText(typeof text === 'string' ? text : await text, own) })
  }
  if (first === undefined || jobs.length === 0) return []

  const { kept, idsFor } = resolveKeys(jobs)
  const list = joined(kept.map(({ text }) => text))
  const rows = allPlain
    ? await write<IdRow>(database, first.tx, 'put_many', [queue, list])
    : await write<IdRow>(database, first.tx, ...statementFor(queue, list, keyMode, 'all or none'))
  if (rows.length !== kept.length) throw withoutRows(kept.length, rows.length)
  for (const row of rows) idOf(row)
  return idsFor(rows)
}

/** @throws BugleError `INVALID_OPTION`: `tx` has answered with rows that are none of ours */
function idOf({ id }: Partial<IdRow>): string {
  if (typeof id === 'string') return id
  const got = id === undefined ? 'a row without id' : `a row whose id is ${kindOf(id)}`
  throw new BugleError('INVALID_OPTION', `tx must answer with the rows of the statement as they are; got ${got}`)
}

function withoutRows(sent: number, answered: number): BugleError {
  return new BugleError(
    'INVALID_OPTION',
    `tx must answer with the rows of the statement: ${sent} jobs, ${answered} rows`,
  )
}

/**
 * @param jobs - as JSON text
 * @param keyMode - null: none has a key
 * @param which - of one job a key that is taken leaves no row, and the caller's transaction goes on; a batch is refused
 */
function statementFor(
  queue: string,
  jobs: string,
  keyMode: KeyedJob['keyMode'] | null,
  which: 'one' | 'all or none',
): [statement: StatementName, parameters: SqlValue[], keyMode?: KeyedJob['keyMode']] {
  if (keyMode === null) return ['put_options', [queue, jobs]]
  return ['put_keyed', [queue, jobs, keyMode, String(which === 'all or none')], keyMode]
}

/** @throws BugleError `INVALID_OPTION` that names the job; and what the caller's function throws */
function optionsOfOne(options: unknown, payload: unknown, index: number): ResolvedPutOptions {
  const own =
    typeof options === 'function'
      ? synchronous('putMany: the function for options', options(payload, index))
      : undefined
  try {
    return resolvePutOptions(own)
  } catch (error) {
    if (!(error instanceof BugleError)) throw error
    throw new BugleError(error.code, `putMany: options of job ${index}: ${error.message}`, { cause: error })
  }
}

function demandSame(name: string, index: number, own: unknown, first: unknown): void {
  if (own === first) return
  throw new BugleError('INVALID_OPTION', `putMany: ${name} must be the same for all jobs; that of job ${index} differs`)
}

/** Whether the short statements will do. */
function isPlain({ runAt, delayMs, key, flags, maxAttempts, timeoutMs }: ResolvedPutOptions): boolean {
  const isScheduled = runAt !== null || delayMs !== null
  return !isScheduled && key === null && flags.length === 0 && maxAttempts === null && timeoutMs === null
}

/** A job as JSON text, for the statements that insert from a list. Left out is what is null. */
function jobText(payload: string, own: ResolvedPutOptions): string {
  const { priority, kind, runAt, delayMs, key, keyWhile, keyForMs, flags, maxAttempts, timeoutMs } = own
  let text = `{"payload":${payload},"priority":${priority}`
  if (kind !== null) text += `,"kind":${JSON.stringify(kind)}`
  if (runAt !== null) text += `,"run_at":${runAt}`
  if (delayMs !== null) text += `,"delay_ms":${delayMs}`
  if (key !== null) text += `,"key":${JSON.stringify(key)}`
  if (keyWhile !== 'waiting') text += `,"key_while":"${keyWhile}"`
  if (keyForMs !== null) text += `,"key_for_ms":${keyForMs}`
  if (flags.length > 0) text += `,"flags":${JSON.stringify(flags)}`
  if (maxAttempts !== null) text += `,"max_attempts":${maxAttempts}`
  if (timeoutMs !== null) text += `,"timeout_ms":${timeoutMs}`
  return `${text}}`
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

async function write<Row>(
  database: Database,
  tx: unknown,
  statement: StatementName,
  parameters: readonly SqlValue[],
  keyMode?: KeyedJob['keyMode'],
): Promise<Row[]> {
  const send = tx === undefined ? undefined : inTransaction(tx)
  await database.ready()
  // While an index is made anew (REINDEX CONCURRENTLY) a put may meet a key in it that it has not seen. Sent again, it
  // sees the key, and does what its mode says; to 'reject' it is no other news.
  const givesWay = keyMode === 'keep' || keyMode === 'replace'
  try {
    // In the caller's transaction everything before a conflict is lost with it, so it is the caller's to begin again.
    if (send !== undefined) return await send<Row>(database.statements[statement], parameters)
    return await (givesWay ? despiteConflicts : despiteDeadlocks)(() => database.query<Row>(statement, parameters))
  } catch (error) {
    if (isKeyTaken(error) || (isKeyConflict(error) && !givesWay)) {
      throw keyTaken(keyMode, `a job has one of the keys (${toError(error).message})`, error)
    }
    throw writeError(error)
  }
}

function keyTaken(keyMode: KeyedJob['keyMode'] | undefined, what: string, cause?: unknown): BugleError {
  const why = keyMode === 'replace' ? ', and does not wait, so it cannot be replaced' : ''
  const message = `put: ${what}${why}; nothing was written`
  return new BugleError('KEY_TAKEN', message, cause === undefined ? {} : { cause })
}

/** A failed write as its caller should see it. */
function writeError(error: unknown): Error {
  const { message } = toError(error)
  if (violatedIndex(error) === 'job_pkey') return idTaken(error)
  if (databaseFault(error) !== 'data') return callError('put', error, 'writes')
  return new BugleError('INVALID_PAYLOAD', `put: the database refused the data: ${message}`, { cause: error })
}

function idTaken(error: unknown): BugleError {
  const message =
    `put: the sequence of job.id has given an id that a job has already (${toError(error).message}), and nothing was ` +
    'written: set it past the ids that are there, by setval, with the greatest id of the tables job and archive'
  return new BugleError('ID_TAKEN', message, { cause: error })
}
