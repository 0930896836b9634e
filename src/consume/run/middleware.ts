import type { Job, JobContext, Middleware } from '../../job.js'
import { failure, isOutcome, type Outcome, thrownOutcome } from '../../outcome.js'

/**
 * Run a chain of middleware around `run`, the first outermost. Never rejects, if `run` does not.
 *
 * Each one's end is an outcome: the one that it returns, or else that of its `next()`. So one that only looks on cannot
 * turn a failure into an ack by forgetting to return it. Throwing is a failure, also after `next()`, unless an outcome
 * is thrown.
 */
export function throughMiddleware(
  chain: readonly Middleware[],
  job: Job,
  context: JobContext,
  run: () => Promise<Outcome>,
): Promise<Outcome> {
  async function from(index: number): Promise<Outcome> {
    const middleware = chain[index]
    if (middleware === undefined) return run()
    let inner: Promise<Outcome> | undefined
    let hasEnded = false
    const next = (): Promise<Outcome> => {
      // A second run of the handler under the same lease would be a second run of the job. Nobody would wait for a run
      // that begins after the middleware's end.
      if (inner !== undefined) return refused('a middleware called next() twice')
      if (hasEnded) return refused('a middleware called next() after its own end')
      inner = from(index + 1)
      return inner
    }
    let end: unknown
    try {
      end = await middleware(job, context, next)
    } catch (thrown) {
      end = thrownOutcome(thrown)
    }
    hasEnded = true
    // Whatever this one says: the handler may still run, and its slot is not free before it has ended.
    const outcome = await inner
    if (isOutcome(end)) return end
    return outcome ?? failure(new Error('a middleware neither called next() nor returned an outcome'))
  }
  return from(0)
}

/** Rejected, also where nobody waits for it: an unhandled rejection would end the process. */
function refused(message: string): Promise<never> {
  const rejected = Promise.reject(new Error(message))
  rejected.catch(() => {})
  return rejected
}
