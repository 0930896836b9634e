import type { ClaimedJob } from '../claimed-job.js'

/** One job of a lane. */
export interface ExpressJob {
  readonly claimed: ClaimedJob
}
