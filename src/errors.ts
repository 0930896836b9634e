import { inspect, types } from 'node:util'

/** What an error of Bugle's is about: `error.code`. Each says what its reader should do. */
export type BugleErrorCode =
  /** An option is unknown, or its value breaks the rule that the message names: change the program. */
  | 'INVALID_OPTION'
  /** A queue name is not 1 to 128 characters of well-formed Unicode without NUL: change the program. */
  | 'INVALID_QUEUE'
  /**
   * A payload holds something that JSON or jsonb cannot, or a rule of your own on the table refuses it. Nothing was
   * written, and the same payload is refused again: change it.
   */
  | 'INVALID_PAYLOAD'
  /**
   * A payload is longer than `maxPayloadBytes` as JSON in UTF-8, or a putMany than one statement. Nothing was written:
   * raise the limit, store the data elsewhere, or put in smaller batches.
   */
  | 'PAYLOAD_TOO_LARGE'
  /** A payload was refused by the queue's schema: change the payload. */
  | 'VALIDATION_FAILED'
  /** A waiting job has this key already, and the put asked to be refused then: as a rule there is nothing to do. */
  | 'KEY_TAKEN'
  /**
   * The database gave a new job an id that another job has: its sequence was restarted, or rows were copied in. Nothing
   * was written: set the sequence past the ids that are there, as the message says.
   */
  | 'ID_TAKEN'
  /** This instance consumes that queue already: consume it once, with more `concurrency`. */
  | 'ALREADY_CONSUMING'
  /** The schema has no tables of ours; the message says what to run. */
  | 'NOT_MIGRATED'
  /** The schema was migrated by a newer version of Bugle: install that one here as well. */
  | 'SCHEMA_TOO_NEW'
  /** What is in the schema is not ours, or hidden from this role; the message says what, and what to do. */
  | 'SCHEMA_UNUSABLE'
  /** Another session kept a lock that a migration needs; the message names it. What was not applied, left nothing. */
  | 'MIGRATION_BLOCKED'
  /**
   * The role lacks a privilege, on what the message names. Nothing was written: the owner of the schema runs the SQL
   * that `bugle grants` prints. Of `migrate` the message has the remedy.
   */
  | 'NO_PRIVILEGE'
  /**
   * The database could not be reached, refused us, or cannot be written to as it is a standby. Nothing was written:
   * send it again later. `consume` waits by itself, unless the first log-in is refused for good.
   */
  | 'DATABASE_DOWN'
  /**
   * The answer was lost: the write may have happened, or not. Look before you send it again, or put under a `key`,
   * which makes it safe to send again.
   */
  | 'RESULT_UNKNOWN'
  /** The instance or the consumer is closed: make a new one. */
  | 'CLOSED'
  /** A handler rejected its job. */
  | 'REJECTED'
  /** A handler did not give the outcome that it seems to have meant, and its job is acked: return the outcome. */
  | 'OUTCOME_LOST'
  /**
   * The database refuses to write this one job: a trigger of the application's, data, a damaged row. The cause says
   * why.
   */
  | 'JOB_REFUSED'
  /** No handler for the job's kind: add one, or leave such jobs to others by `unknownKinds`. */
  | 'NO_HANDLER'
  /** The job's lease was taken over by another claim: end the run, and write nothing more of it. */
  | 'LEASE_LOST'
  /** The consumer is being stopped: end the run; the job runs again. */
  | 'SHUTDOWN'
  /** The job was cancelled: end the run. */
  | 'CANCELLED'
  /** The job ran for longer than its `timeoutMs`: end the run. */
  | 'TIMEOUT'
  /** The job's process died while it ran, too often or in its last attempt: look at what the process said of it. */
  | 'CRASHED'

/**
 * Every error that Bugle throws.
 *
 * Callers test `code`; the message names the thing, the rule and the value; `cause` is what lay beneath.
 */
export class BugleError extends Error {
  override name = 'BugleError'
  readonly code: BugleErrorCode
  /** @param options - `cause`: what lay beneath */
  constructor(code: BugleErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/**
 * The database refuses to write one job, and would take others.
 *
 * @param whatNow - what becomes of the job, as a part of a sentence about it
 */
export function jobRefused(id: string, whatNow: string, cause: unknown): BugleError {
  return new BugleError('JOB_REFUSED', `job ${id} ${whatNow}: ${toError(cause).message}`, { cause })
}

/**
 * Whatever was thrown, as an Error: a handler may throw a string, nothing at all, or something hostile. Never throws.
 */
export function toError(thrown: unknown): Error {
  if (isError(thrown)) return thrown
  return new Error(typeof thrown === 'string' ? thrown : `thrown: ${textOf(thrown)}`, { cause: thrown })
}

function isError(value: unknown): value is Error {
  try {
    // Reading is part of the test: a revoked proxy throws at instanceof, a getter perhaps at `message`.
    // Errors of another realm (jest, vm) are no instances of our class.
    return (value instanceof Error || types.isNativeError(value)) && typeof value.message === 'string'
  } catch {
    return false
  }
}

/**
 * What was thrown or given as a reason and is no error, as a text: also what is in an object. At most 500 characters.
 * Never throws.
 */
export function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return describe(value)
  try {
    return inspect(value, { depth: 3, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 200 }).slice(0, 500)
  } catch {
    return describe(value)
  }
}

/** A value for a message: short, on one line, and never itself a reason to throw. */
export function describe(value: unknown): string {
  let text: string
  try {
    if (typeof value === 'string') text = JSON.stringify(value)
    // Its source would say less, in more lines.
    else if (typeof value === 'function') text = value.name === '' ? 'a function' : `the function ${String(value.name)}`
    else text = String(value)
  } catch {
    text = `a ${typeof value} that cannot be shown`
  }
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
