import { mostAtOnce } from '../most-at-once.js'

/**
 * How many jobs a claim may ask for by what jobs weigh: bounds in bytes, where slots and look-ahead are bounds in jobs.
 *
 * A payload may have a hundred bytes or fifty million, and a claim says how many jobs it wants before it knows. A
 * backlog of heavy jobs that is claimed by number fills the memory, and the answer of a claim that is too large for the
 * link never comes: it is given up, and repeated for ever.
 *
 * A job weighs as much as its payload and its progress are long as JSON, in UTF-16 units. The driver hands both over as
 * text, so this costs the reading of a length. As values they take some one to four times as many bytes.
 *
 * - **A claim asks for what weighs `mostBytes` together**, and for one job at least. Jobs are taken to weigh as much as
 *   those of the last claims. A mean that is higher than what was known counts at once. One that is lower counts bit by
 *   bit, over some `remembered` jobs, so a few light jobs do not make it forget the heavy ones.
 * - **What is held beyond the slots weighs no more than that either.** Look-ahead asks for no more jobs. If a claim
 *   turns out heavier, the slots give back at once what they would have to hold beyond it (slots.ts).
 * - **A claim whose time was up halves the number**, whatever its jobs weigh, down to one. A full claim that was quick
 *   doubles it again. A link that takes a fifth of the deadline for a claim does not get a larger one.
 *
 * What this does not bound: jobs that run, up to one payload per slot; and the first claim, which asks for a job per
 * slot. A claim of light jobs that meets heavy ones for the first time brings them all, `mostAtOnce` at most.
 */
export interface ClaimSize {
  /** Jobs per claim, from 1 up. */
  readonly most: number
  /** Jobs that may be held beyond the slots; 0: even one is too heavy. */
  readonly mostHeld: number
  /** A claim was answered, after so many ms. */
  answered(answer: { readonly asked: number; readonly jobs: readonly Weighed[]; readonly tookMs: number }): void
  /** A claim for so many jobs was not answered in time. */
  timedOut(asked: number): void
}

interface Weighed {
  readonly bytes: number
}

/** Of payloads and progress: per claim, and held beyond the slots. */
export const mostBytes = 16 * 1_024 * 1_024
/** Jobs, after which a lower mean has replaced a higher one for the greater part. */
const remembered = 64
/** A fifth of a claim's deadline. */
const quickMs = 2_000

export function createClaimSize(): ClaimSize {
  let bytesEach = 0
  /** What time-outs have left; Infinity: none of late. */
  let mostInTime = Number.POSITIVE_INFINITY
  let fitting = Number.POSITIVE_INFINITY

  function weigh(jobs: readonly Weighed[]): void {
    let bytes = 0
    for (const job of jobs) bytes += job.bytes
    const mean = bytes / jobs.length
    const weight = mean > bytesEach ? 1 : Math.min(1, jobs.length / remembered)
    bytesEach += (mean - bytesEach) * weight
    fitting = Math.floor(mostBytes / bytesEach)
  }

  return {
    get most() {
      return Math.max(1, Math.min(fitting, mostInTime))
    },
    get mostHeld() {
      return Math.min(fitting, mostInTime)
    },
    answered({ asked, jobs, tookMs }) {
      if (jobs.length === 0) return
      weigh(jobs)
      if (jobs.length < asked || tookMs > quickMs || mostInTime > mostAtOnce) return
      mostInTime = Math.max(mostInTime, 2 * asked)
      if (mostInTime > mostAtOnce) mostInTime = Number.POSITIVE_INFINITY
    },
    timedOut(asked) {
      mostInTime = Math.max(1, Math.floor(Math.min(mostInTime, asked) / 2))
    },
  }
}
