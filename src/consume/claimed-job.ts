import type { Job } from '../job.js'

/** A job under our lease. */
export interface ClaimedJob {
  /** Payload and progress as they are stored. */
  readonly job: Job
  /** The fence of every later write: this lease, and the worker's id. */
  readonly lease: string
  readonly workerId: string
  /** What its payload and progress weigh, see claim-size.ts. */
  readonly bytes: number
  /** The job's own; null: the consumer's. */
  readonly timeoutMs: number | null
  /** From when it could run to its claim, by the database's clock. */
  readonly waitMs: number
}
