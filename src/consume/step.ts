import type { Job } from '../job.js'

/** How far a consumer goes that takes a step at a time: for tests of handlers. */
export interface StepLimit {
  /** It claims no more than so many. */
  readonly jobs: number
  /** Each, as it is stored, before it begins. */
  readonly onClaimed: (job: Job) => void
}
