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

/** One attempt: the handler's end as an outcome, whatever it does, and what middleware makes of it. Never rejects. */
export function runAttempt(parts: AttemptParts, job: Job, context: JobContext): Promise<Outcome> {
  const { handler, middleware, mode } = parts
  if (middleware.length === 0) return runHandler(handler, job, context, mode)
  return throughMiddleware(middleware, job, context, () => runHandler(handler, job, context, mode))
}

async function runHandler(
  handler: JobHandler<Job>,
  job: Job,
  context: JobContext,
  mode: AttemptParts['mode'],
): Promise<Outcome> {
  try {
    const returned = await handler(job, context)
    if (isOutcome(returned)) return returned
    if (mode === 'implicit') return ack(returned)
    return reject(
      new BugleError(
        'REJECTED',
        `the handler returned ${describe(returned)}; with outcome 'explicit' it must return an outcome, as ack(…) is one`,
      ),
    )
  } catch (thrown) {
    return failure(thrown)
  }
}
