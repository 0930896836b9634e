import { describe } from '../../errors.js'
import type { Run } from './runs.js'

/** From here on a run that nothing will end is worth a word. */
const longMs = 600_000
const lookEveryMs = 60_000

interface LongRunsParts {
  /** All that are claimed and not settled. */
  readonly runs: () => readonly Run[]
  readonly now: () => number
  /** Called once at most, with a line for an operator. */
  readonly tell: (message: string) => void
}

/**
 * Finds the first run that goes on for ten minutes and has no `timeoutMs`: a handler that hangs keeps its slot for
 * good, and nothing else would ever tell. Once for each consumer: where runs are meant to be long, one word is enough.
 *
 * It looks once a minute, so a run costs nothing. Its timer does not keep the process alive.
 *
 * @returns ends it
 */
export function watchLongRuns({ runs, now, tell }: LongRunsParts): () => void {
  const timer = setInterval(() => {
    const long = runs().find((run) => run.isUnlimited && now() - run.claimedAt >= longMs)
    if (long === undefined) return
    end()
    tell(textOf(long))
  }, lookEveryMs)
  timer.unref()
  function end(): void {
    clearInterval(timer)
  }
  return end
}

function textOf({ claimed: { job } }: Run): string {
  return (
    `job ${job.id} of ${describe(job.queue)} has run for ten minutes and has no timeoutMs: a handler that hangs ` +
    'would keep its slot for good. Give timeoutMs to consume or to put. This is said once for each consumer'
  )
}
