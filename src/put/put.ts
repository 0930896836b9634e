import { kindOf, synchronous } from '../checks.js'
import type { Database } from '../database/database.js'
import { callError, despiteConflicts, despiteDeadlocks } from '../database/fault.js'
import type { SqlValue } from '../database/pool.js'
import type { StatementName } from '../database/statements.js'
import { databaseFault, isKeyConflict, violatedIndex } from '../database/verdict.js'
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
 * @returns the new job's id; with a key that waits already, and the modes 'replace' and 'keep', that of the waiting job
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
    : await write<IdRow>(database, tx, statementFor(own), [queue, `[${jobText(text, own)}]`])
  if (row !== undefined) return idOf(row)
  if (keyMode === 'reject') throw keyTaken(`a job with the key ${describe(key)} waits in the queue ${describe(queue)}`)
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
  const statement = allPlain ? 'put_many' : statementForMany(keyMode)
  const rows = await write<IdRow>(database, first.tx, statement, [queue, joined(kept.map(({ text }) => text))])
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

const keyedStatements = { replace: 'put_replace', keep: 'put_keep', reject: 'put_reject' } as const

/** A batch is rejected by the unique index: it refuses the whole statement. */
function statementForMany(keyMode: KeyedJob['keyMode'] | null): StatementName {
  return keyMode === null || keyMode === 'reject' ? 'put_options' : keyedStatements[keyMode]
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

function statementFor({ key, keyMode }: ResolvedPutOptions): StatementName {
  return key === null ? 'put_options' : keyedStatements[keyMode]
}

/** A job as JSON text, for the statements that insert from a list. Left out is what is null. */
function jobText(payload: string, own: ResolvedPutOptions): string {
  const { priority, kind, runAt, delayMs, key, flags, maxAttempts, timeoutMs } = own
  let text = `{"payload":${payload},"priority":${priority}`
  if (kind !== null) text += `,"kind":${JSON.stringify(kind)}`
  if (runAt !== null) text += `,"run_at":${runAt}`
  if (delayMs !== null) text += `,"delay_ms":${delayMs}`
  if (key !== null) text += `,"key":${JSON.stringify(key)}`
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
): Promise<Row[]> {
  const send = tx === undefined ? undefined : inTransaction(tx)
  await database.ready()
  const gives = givesWay.has(statement)
  try {
    // In the caller's transaction everything before a conflict is lost with it, so it is the caller's to begin again.
    if (send !== undefined) return await send<Row>(database.statements[statement], parameters)
    return await (gives ? despiteConflicts : despiteDeadlocks)(() => database.query<Row>(statement, parameters))
  } catch (error) {
    throw writeError(error, gives)
  }
}

/**
 * To these a key that is taken is no refusal: they do otherwise then. While an index is made anew (REINDEX
 * CONCURRENTLY) they may meet it all the same, and do otherwise when they are sent again.
 */
const givesWay: ReadonlySet<StatementName> = new Set(['put_keep', 'put_replace'])

function keyTaken(what: string, cause?: unknown): BugleError {
  return new BugleError('KEY_TAKEN', `put: ${what}, and nothing was written`, cause === undefined ? {} : { cause })
}

/** A failed write as its caller should see it. */
function writeError(error: unknown, givesWay: boolean): Error {
  const { message } = toError(error)
  if (isKeyConflict(error) && !givesWay) return keyTaken(`a job with one of the keys waits (${message})`, error)
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
