/** Jobs that wait for a slot, in the order in which they came. */
interface HeldJobs<Job> {
  readonly count: number
  /** What they weigh together. */
  readonly bytes: number
  /** The one that is next. */
  readonly first: Job | undefined
  push(job: Job): void
  /** It begins. */
  take(): Job | undefined
  /** They never will. @param isMeant - only those; default: all of them */
  takeAll(isMeant?: (job: Job) => boolean): Job[]
}

export interface Held {
  /** performance.now() */
  readonly claimedAt: number
  /** What it weighs. */
  readonly bytes: number
}

/** Jobs that have begun and are still in the list. */
const mostBegun = 1_000

export function createHeldJobs<Job extends Held>(): HeldJobs<Job> {
  let jobs: Job[] = []
  /** Those before it have begun. */
  let next = 0
  let bytes = 0

  function forgetBegun(): void {
    jobs = jobs.slice(next)
    next = 0
  }

  return {
    get count() {
      return jobs.length - next
    },
    get bytes() {
      return bytes
    },
    get first() {
      return jobs[next]
    },
    push(job) {
      jobs.push(job)
      bytes += job.bytes
    },
    take() {
      const job = jobs[next]
      if (job === undefined) return undefined
      next += 1
      bytes -= job.bytes
      // What has begun is let go of, though there may always be others.
      if (next === jobs.length || next === mostBegun) forgetBegun()
      return job
    },
    takeAll(isMeant) {
      forgetBegun()
      const taken = isMeant === undefined ? jobs : jobs.filter(isMeant)
      jobs = isMeant === undefined ? [] : jobs.filter((job) => !isMeant(job))
      bytes = jobs.reduce((sum, job) => sum + job.bytes, 0)
      return taken
    },
  }
}
