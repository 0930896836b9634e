/**
 * The one table of what an error means.
 *
 * It is asked of a statement that failed, and the first question is *when* it failed, not by what code: the same
 * ECONNREFUSED or 28P01 proves that nothing was written where the statement had not been sent, and proves nothing where
 * it had. So whoever knows that a statement was never sent says so (`NotSentError`), whatever lay beneath. Of a
 * statement that was sent only the server's own word counts, an SQLSTATE. Without one it may have committed, be the
 * error a reset, an unreachable host or a time-out.
 *
 * `pg` has no codes for the errors of its own. Its sentences stand for them: a transaction of the caller's may be on a
 * client of `pg`, and so are our migrations.
 */
import { BugleError, toError } from '../errors.js'

/** What a failed statement means for its sender. */
type DatabaseFault =
  /** It never reached a server that could have run it. Nothing was written, and sending it again is safe. */
  | 'down'
  /** The server, or the way to it, went away meanwhile: it may have committed. */
  | 'unknown'
  /**
   * The server rolled it back for a reason that passes: a deadlock, a key's race, a lock or statement time-out, no
   * memory, a limit of its own. A limit can be met by data as well; only the same statement without its data can tell.
   */
  | 'passing'
  /** The server refuses this very data; sending it again will not help. */
  | 'data'
  /** The role lacks a privilege. */
  | 'privilege'
  /** Our table or schema is not there. */
  | 'not-migrated'
  /** Everything else: a bug. */
  | 'other'

const notSent = 'NOT_SENT'

/** A statement that no connection has taken, and none will: whatever lay beneath, nothing was written. */
export class NotSentError extends Error {
  override name = 'NotSentError'
  readonly code = notSent

  /** @param what - the statement's name */
  constructor(what: string, cause: unknown) {
    super(`${what}: not sent: ${toError(cause).message}`, { cause })
  }
}

/** @see https://www.postgresql.org/docs/current/errcodes-appendix.html */
export function databaseFault(error: unknown): DatabaseFault {
  if (errorCode(error) === notSent) return 'down'
  if (error instanceof BugleError) return 'other'
  const state = sqlState(error)
  // Whatever fails by itself has a code: sockets, TLS, drivers, our deadlines. What has none is a mistake in a program,
  // unless `pg` says it.
  if (state === null) return errorCode(error) === '' ? saidByPg(error) : 'unknown'
  // These refuse a log-in. Of a statement a pooler says so that has found no server for it. 25006 (read-only): the
  // server has just become, or still is, a standby.
  if (/^(28|3D|57P03|53300|25006)/.test(state)) return 'down'
  // 57P01, 57P02: the server ends the session, and says so perhaps after the commit. 57P05: idle_session_timeout.
  if (/^(08|57P0[1245])/.test(state)) return 'unknown'
  // Another transaction's job with the same key came first; sent again, the statement sees it.
  if (isKeyConflict(error)) return 'passing'
  if (/^(40|53|54|55P03|57014|25P0[34])/.test(state)) return 'passing'
  if (state === '42501') return 'privilege'
  if (state === '42P01' || state === '3F000' || state === '42883') return 'not-migrated'
  if (/^(22|23)/.test(state)) return 'data'
  return 'other'
}

/** The connection was never made, or lost before: no statement left the process. */
const unsentByPg = sentences(
  'timeout expired',
  'timeout exceeded when trying to connect',
  'Connection terminated due to connection timeout',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
)
/** The answer did not come. (A statement that still waited for its turn has the same error.) */
const lostByPg = sentences('Connection terminated', 'Connection terminated unexpectedly', 'Query read timeout')

/** What stands on `pg` puts words of its own before the sentence: Knex its statement, Prisma the name of the call. */
function sentences(...all: string[]): RegExp {
  return new RegExp(`(^| - |\\n)(${all.join('|')})$`)
}

/** An error without a code. */
function saidByPg(error: unknown): DatabaseFault {
  if (typeof error !== 'object' || error === null) return 'other'
  const { message } = toError(error)
  if (unsentByPg.test(message)) return 'down'
  return lostByPg.test(message) ? 'unknown' : 'other'
}

/**
 * Whether two jobs would wait under one key: a unique violation of our index `job_key`, or of what stands for it while
 * REINDEX CONCURRENTLY works. Any other unique violation is of ids, or of an index that the application has made.
 */
export function isKeyConflict(error: unknown): boolean {
  return /^job_key(_cc(new|old)\d*)?$/.test(violatedIndex(error) ?? '')
}

/** Whether a put was refused as a job has its key: function put_keyed says so by a name that is no index's. */
export function isKeyTaken(error: unknown): boolean {
  return violatedIndex(error) === 'job_key_taken'
}

/** The index that a unique violation names, '' where it is not told; null: the error is none. */
export function violatedIndex(error: unknown): string | null {
  if (sqlState(error) !== '23505') return null
  const { constraint_name, constraint, message } = error as Partial<Record<string, unknown>>
  // postgres.js; pg, and what stands on it.
  const name = constraint_name ?? constraint
  if (typeof name === 'string') return name
  // Prisma hands on the message alone, in whatever language it is.
  return /\bjob_p?key\w*/.exec(String(message))?.[0] ?? ''
}

/**
 * Whether somebody holds a lock that the statement needs, or it was more work than it may be: the server's time-outs
 * and ours.
 */
export function isTimeOut(error: unknown): boolean {
  return ['55P03', '57014', 'DEADLINE'].includes(errorCode(error))
}

/**
 * Whether a first connection was refused for a reason that lasts until somebody mends it: a wrong password, role,
 * database or host name, a missing right to connect, a certificate, a pooler that refuses what we ask for. To wait for
 * it would be to wait for ever. What may pass by itself: a server that is not there (yet), starts, ends or is full.
 */
export function isPermanentRefusal(error: unknown): boolean {
  const code = errorCode(error)
  if (sqlState(error) === null) return /^(ENOTFOUND$|CERT_|ERR_TLS_CERT|.*SELF_SIGNED|UNABLE_TO_)/.test(code)
  // A pooler's word for nearly all that it refuses: also that it has no server at the moment.
  if (code === '08P01')
    return !/server login|connect to server|server conn|timeout|shut|max_client/i.test(toError(error).message)
  return !/^(08|25|40|53|57|58|XX)/.test(code)
}

/** The server has become a standby, or read only: it refuses this write and all others. */
export function takesNoWrites(error: unknown): boolean {
  return sqlState(error) === '25006'
}

/** PostgreSQL's five characters, or null for an error that no server sent. */
export function sqlState(error: unknown): string | null {
  const code = errorCode(error)
  // Node's EPIPE has five as well; no SQLSTATE of PostgreSQL's is without a digit.
  return /^[0-9A-Z]{5}$/.test(code) && /\d/.test(code) ? code : null
}

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return ''
  // Node reports a host with several addresses as one error without a code of its own.
  const inner = 'errors' in error && Array.isArray(error.errors) ? error.errors : []
  if (inner.length > 0) return errorCode(inner[0])
  const code = 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : ''
}
