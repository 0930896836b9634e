import { inspect } from 'node:util'

/** What an error of Bugle's is about: `error.code`. */
export type BugleErrorCode =
  /** An option is unknown, or its value breaks the rule that the message names. */
  | 'INVALID_OPTION'
  /** A queue name is not 1 to 128 characters of well-formed Unicode without NUL. */
  | 'INVALID_QUEUE'
  /** A payload holds something that JSON or jsonb cannot. Nothing was written. */
  | 'INVALID_PAYLOAD'
  /**
   * A payload is longer than `maxPayloadBytes` as JSON in UTF-8, or a putMany than one statement. Nothing was written.
   */
  | 'PAYLOAD_TOO_LARGE'
  /** A payload was refused by the queue's schema. */
  | 'VALIDATION_FAILED'
  /** A waiting job has this key already, and the put asked to be refused then. */
  | 'KEY_TAKEN'
  /** This instance consumes that queue already. */
  | 'ALREADY_CONSUMING'
  /** The schema has no tables of ours; the message says what to run. */
  | 'NOT_MIGRATED'
  /** The schema was migrated by a newer version of Bugle. */
  | 'SCHEMA_TOO_NEW'
  /** The database could not be reached, or refused us. Nothing was written. */
  | 'DATABASE_DOWN'
  /** The answer was lost: the write may have happened, or not. */
  | 'RESULT_UNKNOWN'
  /** The instance or the consumer is closed. */
  | 'CLOSED'
  /** A handler rejected its job. */
  | 'REJECTED'
  /** The database refuses to write this one job: a trigger of the application's, data, a damaged row. */
  | 'JOB_REFUSED'
  /** No handler for the job's kind. */
  | 'NO_HANDLER'
  /** The job's lease was taken over by another claim. */
  | 'LEASE_LOST'
  /** The consumer is being stopped. */
  | 'SHUTDOWN'
  /** The job was cancelled. */
  | 'CANCELLED'
  /** The job ran for longer than its `timeoutMs`. */
  | 'TIMEOUT'

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
    return value instanceof Error && typeof value.message === 'string'
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
    text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  } catch {
    text = `a ${typeof value} that cannot be shown`
  }
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}

/** What a failed statement means for its sender. */
type DatabaseFault =
  /** It never reached a server that could have run it. Sending it again is safe. */
  | 'down'
  /** The server, or the way to it, went away meanwhile: it may have committed. */
  | 'unknown'
  /**
   * The server rolled it back for a reason that passes: deadlock, a key's race, lock or statement timeout, no memory.
   */
  | 'passing'
  /** The server refuses this very data; sending it again will not help. */
  | 'data'
  /** Our table or schema is not there. */
  | 'not-migrated'
  /** Everything else: a missing privilege, a bug. */
  | 'other'

// Node's and postgres.js's own codes, for which no SQLSTATE was sent.
const notReached = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  'EACCES',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'CONNECT_TIMEOUT',
  'CONNECTION_ENDED',
  'NOT_SENT',
])
const lostMeanwhile = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'DEADLINE',
])

/**
 * The one table of retryable states.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
export function databaseFault(error: unknown): DatabaseFault {
  const code = errorCode(error)
  if (notReached.has(code)) return 'down'
  if (lostMeanwhile.has(code)) return 'unknown'
  if (sqlState(error) === null) return 'other'
  // 57P03 and 53300 refuse the connection, 28 and 3D the log-in: nothing was sent.
  if (code === '57P03' || code === '53300' || /^(28|3D)/.test(code)) return 'down'
  // 57P01, 57P02: the server ends the session, and says so perhaps after the commit. 57P05: idle_session_timeout.
  if (/^(08|57P0[1245])/.test(code)) return 'unknown'
  // 25006 (read-only) is a server that has just become, or still is, a standby.
  // 23505: another transaction's job with the same key came first; sent again, the statement sees it.
  if (/^(40|53|55P03|57014|25006|25P0[34]|23505)/.test(code)) return 'passing'
  if (code === '42P01' || code === '3F000' || code === '42883') return 'not-migrated'
  if (/^(22|23|54)/.test(code)) return 'data'
  return 'other'
}

/**
 * Whether somebody holds a lock that the statement needs, or it was more work than it may be: the server's time-outs
 * and ours.
 */
export function isTimeOut(error: unknown): boolean {
  return ['55P03', '57014', 'DEADLINE'].includes(errorCode(error))
}

/** PostgreSQL's five characters, or null for an error that no server sent. */
export function sqlState(error: unknown): string | null {
  const code = errorCode(error)
  return /^[0-9A-Z]{5}$/.test(code) && !notReached.has(code) && !lostMeanwhile.has(code) ? code : null
}

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return ''
  // Node reports a host with several addresses as one error without a code of its own.
  if (error instanceof AggregateError && error.errors.length > 0) return errorCode(error.errors[0])
  const code = 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : ''
}
