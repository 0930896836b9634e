import { withResolvers } from '../../with-resolvers.js'
import type { ClaimedJob } from '../claimed-job.js'
import type { StepLimit } from '../step.js'

/** How many jobs a consumer may claim in all. */
export interface Quota {
  /** More jobs; Infinity: as many as there are. */
  readonly left: number
  /** These were claimed. */
  claimed(jobs: readonly ClaimedJob[]): void
  /** Resolves when none is left. */
  readonly used: Promise<void>
}

/** @param limit - null: it claims whatever there is */
export function createQuota(limit: StepLimit | null): Quota {
  let left = limit?.jobs ?? Number.POSITIVE_INFINITY
  const { promise: used, resolve: tellUsed } = withResolvers<void>()
  return {
    get left() {
      return left
    },
    claimed(jobs) {
      if (limit === null) return
      for (const { job } of jobs) limit.onClaimed(job)
      left -= jobs.length
      if (left <= 0) tellUsed()
    },
    used,
  }
}
