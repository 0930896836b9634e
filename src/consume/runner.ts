import { BugleError, describe } from '../errors.js'
import { failure, isOutcome, type Outcome, reject } from '../outcome.js'

/** One claimed job, as its handler sees it. Read-only. */
export interface Job<Payload = unknown> {
  /** A decimal string: ids are 64 bits. */
  readonly id: string
  readonly queue: string
  readonly kind: string | null
  readonly payload: Payload
  /** 1 for the first counted run. */
  readonly attempt: number
  readonly maxAttempts: number | null
  /** Runs that ended because their process died. */
  readonly crashes: number
  readonly priority: number
  readonly key: string | null
  readonly flags: readonly string[]
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
export interface JobContext<Owner = unknown> {
  /** The process that runs it: the lease's owner, a decimal string. */
  readonly workerId: string
  /** The instance that consumes: for jobs that put further jobs. */
  readonly bugle: Owner
}

/**
 * Runs one job: returning is an ack, unless an outcome is returned, or the consumer asked for `outcome: 'explicit'`;
 * throwing, or rejecting, is a failure. Several may run at once, in any order.
 */
export type Handler<Payload = unknown, Owner = unknown> = (job: Job<Payload>, context: JobContext<Owner>) => unknown

/**
 * One attempt: the handler's end as an outcome, whatever it does. Never rejects.
 *
 * @param mode - `implicit`: any return that is no outcome is an ack, with that value as result;
 *   `explicit`: it is a reject that says so (Taskmaster's contract)
 */
export async function runAttempt<Payload, Owner>(
  handler: Handler<Payload, Owner>,
  job: Job<Payload>,
  context: JobContext<Owner>,
  mode: 'implicit' | 'explicit',
): Promise<Outcome> {
  try {
    const returned = await handler(job, context)
    if (isOutcome(returned)) return returned
    if (mode === 'implicit') return { type: 'ack', result: returned }
    return reject(
      new BugleError(
        'REJECTED',
        `the handler returned ${describe(returned)}; with outcome 'explicit' it must return ack(…) or reject(…)`,
      ),
    )
  } catch (thrown) {
    return failure(thrown)
  }
}
