import { BugleError, describe } from '../errors.js'
import type { Job, JobContext, JobHandler, Middleware } from '../job.js'
import { ack, failure, isOutcome, type Outcome, reject } from '../outcome.js'
import { throughMiddleware } from './middleware.js'

export interface AttemptParts {
  readonly handler: JobHandler<Job>
  /** The first outermost. */
  readonly middleware: readonly Middleware[]
  /**
   * `implicit`: any return that is no outcome is an ack, with that value as result; `explicit`: it is a reject that says
   * so (Taskmaster's contract).
   */
  readonly mode: 'implicit' | 'explicit'
}

/**
 * One attempt: the handler's end as an outcome, whatever it does, and what middleware makes of it. Never throws or rejects.
 *
 * @returns no promise where neither the handler nor middleware made one: nothing is to be waited for
 */
export function runAttempt(parts: AttemptParts, job: Job, context: JobContext): Outcome | Promise<Outcome> {
  const { handler, middleware, mode } = parts
  if (middleware.length === 0) return runHandler(handler, job, context, mode)
  return throughMiddleware(middleware, job, context, async () => runHandler(handler, job, context, mode))
}

function runHandler(
  handler: JobHandler<Job>,
  job: Job,
  context: JobContext,
  mode: AttemptParts['mode'],
): Outcome | Promise<Outcome> {
  try {
    const returned = handler(job, context)
    return isThenable(returned) ? outcomeOfPromise(returned, mode) : outcomeOf(returned, mode)
  } catch (thrown) {
    return failure(thrown)
  }
}

async function outcomeOfPromise(promise: PromiseLike<unknown>, mode: AttemptParts['mode']): Promise<Outcome> {
  try {
    return outcomeOf(await promise, mode)
  } catch (thrown) {
    return failure(thrown)
  }
}

function outcomeOf(returned: unknown, mode: AttemptParts['mode']): Outcome {
  if (isOutcome(returned)) return returned
  if (mode === 'implicit') return ack(returned)
  return reject(
    new BugleError(
      'REJECTED',
      `the handler returned ${describe(returned)}; with outcome 'explicit' it must return an outcome, as ack(…) is one`,
    ),
  )
}

/** As `await` sees it. Reading `then` may throw. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false
  return 'then' in value && typeof value.then === 'function'
}
