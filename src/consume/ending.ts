import type { FailureCause } from '../events.js'
import type { StoredError } from '../payload.js'

/** What is written of a job after a run. */
export type Ending =
  /** Deleted. */
  | { readonly is: 'acked' }
  /** Moved to the archive, with the result as JSON text. */
  | { readonly is: 'archived'; readonly result: string }
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

/** Back to the queue as if it had not been claimed. */
export const givenBack: Ending = {
  is: 'waiting',
  delayMs: 0,
  keptAttempt: false,
  error: null,
  progress: null,
}

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
  /** The database would not hold the outcome: the job is failed instead, with this error. */
  | { readonly is: 'refused'; readonly error: Error }
  | { readonly is: 'stale'; readonly lease: string | null }
  /** Nothing is known to be written: the instance is closed. */
  | { readonly is: 'given-up' }
