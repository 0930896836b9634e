import { BugleError, describe } from '../../errors.js'
import type { Job, JobContext, JobHandler, Middleware } from '../../job.js'
import { failure, isOutcome, type Outcome, reject, thrownOutcome } from '../../outcome.js'
import { impliedAck } from './lost-outcome.js'
import { throughMiddleware } from './middleware.js'

/**
 * One attempt: the handler's end as an outcome, whatever it does, and what middleware makes of it. None of it throws.
 *
 * In two steps, for the sake of jobs that end at once, and of those that make one promise: nothing is waited for here,
 * so whoever waits does it once, and in a context of its own.
 */
interface Attempts {
  /** @returns what is a promise was made by the handler or by middleware. Its end is to be given to the other two */
  begin(handler: JobHandler<Job>, job: Job, context: JobContext): Outcome | Promise<unknown>
  returned(value: unknown): Outcome
  threw(thrown: unknown): Outcome
}

/**
 * @param middleware - the first outermost
 * @param mode - `implicit`: any return that is no outcome is an ack, with that value as result; `explicit`: it is a
 *   reject that says so (Taskmaster's contract)
 */
export function createAttempts(middleware: readonly Middleware[], mode: 'implicit' | 'explicit'): Attempts {
  const begin: Attempts['begin'] = (handler, job, context) => {
    try {
      const value = handler(job, context)
      // As `await` sees it: a promise of Node's own is itself, of anything else one is made, by a call of its `then`.
      return isThenable(value) ? Promise.resolve(value) : returned(value)
    } catch (thrown) {
      return thrownOutcome(thrown)
    }
  }

  function returned(value: unknown): Outcome {
    try {
      if (isOutcome(value)) return value
      if (mode === 'implicit') return impliedAck(value)
      return reject(
        new BugleError(
          'REJECTED',
          `the handler returned ${describe(value)}; with outcome 'explicit' it must return an outcome, ` +
            'as ack(…) is one',
        ),
      )
    } catch (thrown) {
      return failure(thrown)
    }
  }

  async function ended(attempt: Outcome | Promise<unknown>): Promise<Outcome> {
    try {
      return returned(await attempt)
    } catch (thrown) {
      return thrownOutcome(thrown)
    }
  }

  return {
    begin:
      middleware.length === 0
        ? begin
        : (...run) => throughMiddleware(middleware, run[1], run[2], () => ended(begin(...run))),
    returned,
    threw: thrownOutcome,
  }
}

/** As `await` sees it. Reading `then` may throw. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false
  // Not asked by `in`: a proxy may have an answer to the one and not to the other.
  return typeof (value as { then?: unknown }).then === 'function'
}
