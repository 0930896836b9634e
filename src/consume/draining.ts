import { setTimeout as sleep } from 'node:timers/promises'
import { toError } from '../errors.js'
import { withResolvers } from '../with-resolvers.js'
import type { ClaimedJob } from './claim.js'
import type { StepLimit } from './step.js'

/** When a consumer that drains its queue is done. */
export interface Draining {
  /** How many more jobs it may claim. */
  readonly claimable: number
  /** A claim was answered: with these jobs, none of which has begun. */
  claimed(jobs: readonly ClaimedJob[]): void
  /**
   * Resolves once nothing runs and nothing is ready, or with 'scheduled' ready or scheduled; where the queue is paused for all
   * processes; or where the limit is reached, and what was claimed has run. At a stop it may never.
   */
  drained(until: 'ready' | 'scheduled'): Promise<void>
}

export interface DrainingParts {
  /** null: it claims whatever there is. */
  readonly limit: StepLimit | null
  readonly quiet: () => Promise<void>
  /** Resolves when a claim that began after this call has proven the queue empty, or has found it paused; or at the stop. */
  readonly seenEmpty: () => Promise<void>
  /** The last claim found the queue paused. */
  readonly isQueuePaused: () => boolean
  /** No run is left, and no slot taken. */
  readonly isStill: () => boolean
  /** Resolves when the runs are over that have been claimed up to now. */
  readonly lastRunsOver: () => Promise<void>
  readonly isStopping: () => boolean
  /** In how many ms the next scheduled job is due that it may take; null: there is none. */
  readonly nextScheduled: () => Promise<number | null>
  readonly onError: (error: Error) => void
}

/** How often a drain that waits for scheduled jobs looks whether there are any left. */
const scheduledLookMs = 1_000

export function createDraining(parts: DrainingParts): Draining {
  const { limit, isStopping } = parts
  let everClaimed = 0
  let claimable = limit?.jobs ?? Number.POSITIVE_INFINITY
  const { promise: sated, resolve: tellSated } = withResolvers<void>()

  /**
   * While the claim is under way that sees the queue empty nothing may run here: a job that goes back without a delay, or is put by a
   * handler, in between its snapshot and its answer is ready, and the claim has not seen it.
   */
  async function ranDry(): Promise<void> {
    let isDry = false
    while (!isDry) {
      await parts.quiet()
      const before = everClaimed
      const wasStill = parts.isStill()
      await parts.seenEmpty()
      isDry = isStopping() || (wasStill && everClaimed === before)
    }
  }

  async function nothingLeft(until: 'ready' | 'scheduled'): Promise<void> {
    for (;;) {
      await ranDry()
      if (until === 'ready' || parts.isQueuePaused() || isStopping()) return
      const dueInMs = await parts.nextScheduled().catch((error) => {
        parts.onError(toError(error))
        return scheduledLookMs
      })
      if (dueInMs === null) return
      // Its own timer starts it. Others may take it meanwhile, or cancel it, and nobody tells.
      await sleep(Math.min(Math.max(dueInMs, 0) + 1, scheduledLookMs), undefined, { ref: false })
    }
  }

  return {
    get claimable() {
      return claimable
    },
    claimed(jobs) {
      everClaimed += jobs.length
      if (limit === null) return
      for (const { job } of jobs) limit.onClaimed(job)
      claimable -= jobs.length
      if (claimable <= 0) tellSated()
    },
    drained: (until) => Promise.race([nothingLeft(until), sated.then(parts.lastRunsOver)]),
  }
}
