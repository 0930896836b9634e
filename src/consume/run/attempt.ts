import { BugleError, describe } from '../../errors.js'
import type { Job, JobContext, JobHandler, Middleware } from '../../job.js'
import { failure, isOutcome, type Outcome, reject, thrownOutcome } from '../../outcome.js'
import { impliedAck } from './lost-outcome.js'
import { throughMiddleware } from './middleware.js'

/**
 * One attempt: the handler's end as an outcome, whatever it does, and what middleware makes of it. Never throws or
 * rejects.
 *
 * @returns no promise where neither the handler nor middleware made one: nothing is to be waited for
 */
type Attempt = (handler: JobHandler<Job>, job: Job, context: JobContext) => Outcome | Promise<Outcome>

/**
 * @param middleware - the first outermost
 * @param mode - `implicit`: any return that is no outcome is an ack, with that value as result; `explicit`: it is a
 *   reject that says so (Taskmaster's contract)
 */
export function createAttempt(middleware: readonly Middleware[], mode: 'implicit' | 'explicit'): Attempt {
  const runHandler: Attempt = (handler, job, context) => {
    try {
      const returned = handler(job, context)
      return isThenable(returned) ? awaited(returned) : outcomeOf(returned)
    } catch (thrown) {
      return thrownOutcome(thrown)
    }
  }

  /**
   * As `await` does it, which asks a promise of Node's own for no `then`; an async function would make two more
   * objects.
   */
  function awaited(returned: PromiseLike<unknown>): Promise<Outcome> {
    return Promise.prototype.then.call(Promise.resolve(returned), outcomeOf, thrownOutcome) as Promise<Outcome>
  }

  function outcomeOf(returned: unknown): Outcome {
    try {
      if (isOutcome(returned)) return returned
      if (mode === 'implicit') return impliedAck(returned)
      return reject(
        new BugleError(
          'REJECTED',
          `the handler returned ${describe(returned)}; with outcome 'explicit' it must return an outcome, ` +
            'as ack(…) is one',
        ),
      )
    } catch (thrown) {
      return failure(thrown)
    }
  }

  if (middleware.length === 0) return runHandler
  return (handler, job, context) =>
    throughMiddleware(middleware, job, context, async () => runHandler(handler, job, context))
}

/** As `await` sees it. Reading `then` may throw. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false
  // Not asked by `in`: a proxy may have an answer to the one and not to the other.
  return typeof (value as { then?: unknown }).then === 'function'
}
