import type { FailureCause } from '../../events.js'
import type { StoredError } from '../../payload.js'

/** What is written of a job after a run. */
export type Ending =
  /** Deleted. */
  | { readonly is: 'acked' }
  /**
   * Deleted, if the row is as it was claimed: it is no running job's, but one that an express lane had locked, and the
   * lane's commit is not known. So a statement with it may have committed.
   */
  | { readonly is: 'acked-on-lane'; readonly asClaimed: RowAsClaimed }
  /** Moved to the archive, with the result as JSON text. */
  | {
      readonly is: 'archived'
      readonly result: string
      /** For so many ms; undefined: until it is collected by age. */
      readonly keptForMs?: number
    }
  | { readonly is: 'failed'; readonly error: StoredFailure }
  /** Back to the queue. */
  | {
      readonly is: 'waiting'
      readonly delayMs: number
      /** false: the attempt is given back. */
      readonly keptAttempt: boolean
      /** null: the former one stays. */
      readonly error: StoredFailure | null
      /** JSON text; null: the former one stays. */
      readonly progress: string | null
    }

/** What tells a row from any other, and from itself after a change, while nothing in it says who runs it. */
export interface RowAsClaimed {
  /** The transaction that has written it last (xmin): no version of it after an update has the same. */
  readonly version: string
  readonly lease: string
  /** Microseconds since 1970. Ids and leases may come again, this does not. */
  readonly createdAt: string
  readonly runAt: string
}

/** Back to the queue as if it had not been claimed. */
export const givenBack: Ending = {
  is: 'waiting',
  delayMs: 0,
  keptAttempt: false,
  error: null,
  progress: null,
}

/**
 * The same ending with all its text in ASCII, each other character as `\\u20ac`: for a database whose encoding has no
 * such character.
 *
 * @returns null: it is in ASCII already
 */
export function withPlainText(ending: Ending): Ending | null {
  if (!foreign.test(JSON.stringify(ending))) return null
  switch (ending.is) {
    case 'acked':
    case 'acked-on-lane':
      return null
    case 'archived':
      return { ...ending, result: plainJson(ending.result) }
    case 'failed':
      return { ...ending, error: plainError(ending.error) }
    case 'waiting': {
      const { error, progress } = ending
      return { ...ending, error: error && plainError(error), progress: progress && plainJson(progress) }
    }
  }
}

const foreign = /[\u0080-\uffff]/
const eachForeign = /[\u0080-\uffff]/g

/** In JSON they stand in strings only. What is written of them is text; an escape of JSON's would be read. */
function plainJson(json: string): string {
  return json.replaceAll(eachForeign, (unit) => `\\\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function plainError(error: StoredFailure): StoredFailure {
  return JSON.parse(plainJson(JSON.stringify(error)))
}

/**
 * The same ending without what its run has made: a result, an error, progress.
 *
 * @returns null: there is no data in it
 */
export function withoutData(ending: Ending, attempt: number): Ending | null {
  switch (ending.is) {
    case 'acked':
    case 'acked-on-lane':
      return null
    case 'archived':
      return ending.result === 'null' ? null : { ...ending, result: 'null' }
    case 'failed':
      return { is: 'failed', error: { ...notStored, failedBy: 'invalid', attempt } }
    case 'waiting': {
      const { error, progress } = ending
      if (error === null && progress === null) return null
      return { ...ending, error: error && { ...notStored, failedBy: 'retrying', attempt }, progress: null }
    }
  }
}

const notStored = { name: 'BugleError', message: 'the database refused to store the outcome of this run' } as const

/** What a job's `last_error` holds. */
export interface StoredFailure extends StoredError {
  /** Why the job is failed, as in the event `job:failed`; or 'retrying': it is not. */
  readonly failedBy: FailureCause | 'retrying'
  readonly attempt: number
}

/** An ending on its way to the database. */
export interface Settlement {
  readonly id: string
  readonly lease: string
  /** Under which it was claimed. */
  readonly workerId: string
  readonly attempt: number
  readonly ending: Ending
  /** The handler has acked it in a transaction of its own, which may have been committed. */
  readonly ackedInTransaction: boolean
}

/** What became of a settlement. */
export type Settled =
  /** `runAt`: of a job that waits, ms since 1970. */
  | { readonly is: 'durable'; readonly runAt: number | null }
  /** It is gone by the handler's own transaction, whatever the run ended with. */
  | { readonly is: 'acked-before' }
  /** It should have gone back to the queue, and is failed: a cancel had been requested. */
  | { readonly is: 'cancelled' }
  /** The database would not hold the failure's error: the job is failed without it, and this is why. */
  | { readonly is: 'refused'; readonly error: Error }
  | { readonly is: 'stale'; readonly lease: string | null }
  /** Nothing is known to be written: the instance is closed. */
  | { readonly is: 'given-up' }
