import type { Outcome } from './outcome.js'
import type { Transaction } from './transactions/transaction.js'

/** One claimed job, as its handler sees it. Read-only. */
export interface Job<Payload = unknown, Kind extends string | null = string | null> {
  /** A decimal string: ids are 64 bits. */
  readonly id: string
  readonly queue: string
  readonly kind: Kind
  readonly payload: Payload
  /** 1 for the first counted run. */
  readonly attempt: number
  /** Runs that the job's own limit allows; null: the consumer's retry strategy decides. */
  readonly maxAttempts: number | null
  /** Runs that ended because their process died. */
  readonly crashes: number
  readonly priority: number
  readonly key: string | null
  readonly flags: readonly string[]
  /** What the last `partial(progress)` stored; null before the first. */
  readonly progress: unknown
  readonly createdAt: Date
  /** From when on it could run. */
  readonly runAt: Date
}

/**
 * What a handler is given beside its job.
 *
 * `Owner` is the instance's own type: a parameter, so that this file need not know who uses it.
 */
export interface JobContext<Owner = unknown, Context = unknown> {
  /** The process that runs it: the lease's owner, a decimal string. */
  readonly workerId: string
  /**
   * Aborted when the run should end: `signal.reason.code` is `SHUTDOWN` (a stop, after its grace), `CANCELLED`,
   * `TIMEOUT`, or `LEASE_LOST` (this process was given up, and others may run the job by now). Hand it on to whatever
   * waits. What a listener of it throws ends the process: Node reports it as uncaught, and nobody can catch it there.
   */
  readonly signal: AbortSignal
  /** The instance that consumes: for jobs that put further jobs. */
  readonly bugle: Owner
  /** What was given as `context` to `consume`, or else to `createBugle`. */
  readonly context: Context
  /**
   * Ack the job inside a transaction of yours: what the handler writes and the ack commit together, or not at all.
   *
   * Then return as usual. If the transaction was rolled back after all, the run counts as failed.
   *
   * @param tx - as for `put`
   * @param result - what `ack(result)` would say: kept by consumers with `keep: 'all'`
   * @throws BugleError `LEASE_LOST` if the job is no longer ours: let it pass, so that the transaction is rolled back;
   *   `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE` for a result that cannot be kept; `INVALID_OPTION`: `tx` is no transaction
   *   that may write; `DATABASE_DOWN`, `RESULT_UNKNOWN`: its connection is lost; `NO_PRIVILEGE`, `NOT_MIGRATED`; the
   *   driver's error
   */
  ack(tx: Transaction, result?: unknown): Promise<void>
}

/** Runs one job of some type; see `Handler`. */
export type JobHandler<AnyJob, Owner = unknown, Context = unknown> = (
  job: AnyJob,
  context: JobContext<Owner, Context>,
) => unknown

/**
 * Runs one job: returning is an ack, unless an outcome is returned, or the consumer asked for `outcome: 'explicit'`;
 * throwing, or rejecting, is a failure. Several may run at once, in any order.
 */
export type Handler<Payload = unknown, Owner = unknown, Context = unknown> = JobHandler<Job<Payload>, Owner, Context>

/**
 * Runs around the handler; the first of the list is the outermost, those of the instance are outside of the consumer's.
 *
 * `next()` runs what is inside and resolves with its outcome, also that of a throw; it rejects only where it is called
 * a second time, or after the middleware's end. Return an outcome to change it;
 * whatever else is returned, the outcome of `next()` stands. Without `next()` the handler does not run, and an outcome
 * must be returned. Throwing is a failure of the run.
 */
export type Middleware<Owner = unknown, Context = unknown> = (
  job: Job,
  context: JobContext<Owner, Context>,
  next: () => Promise<Outcome>,
) => unknown
