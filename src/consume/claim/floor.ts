import type { ClaimedJob } from '../claimed-job.js'

/**
 * From which id on a claim looks for ready jobs: from the first, or in a hurry from where the last claim ended.
 *
 * A claimed job leaves a dead entry in the index by which claims read. They are dropped by vacuum, and in part sooner,
 * but not while some transaction, anywhere in the server, could still see them. A claim walks over all of them before
 * it comes to the first ready job: in the middle of a backlog of 100,000 that is a third of its time (0.3 ms), and
 * after three minutes of 800 jobs a second beside a transaction that stays open 36 ms.
 *
 * So once full claims have brought many jobs, or a look from the first id on was slow, claims begin where the last one
 * ended. They do so for ten times as long as a look from the first id takes, so that those looks take a tenth of the
 * time, however slow they get. The price: a job behind the floor (one that went back to the queue, or was committed
 * after a later id) may wait for that long, at least `leastMs`, while others are claimed. Nothing is lost, as
 *
 * - a claim that is to prove something (the sleep protocol's, an `idle()`) always looks from the first id on;
 * - the floor is one of ids, and claims go by priority: it is given up where a claim brought jobs of several
 *   priorities.
 */
export interface Floor {
  /** null: all ids. */
  next(proves: boolean): string | null
  answered(answer: FloorAnswer): void
}

interface FloorAnswer {
  readonly from: string | null
  readonly tripMs: number
  readonly jobs: readonly ClaimedJob[]
  readonly isFull: boolean
}

/** Jobs by full claims in a row before it begins: what is dead after fewer is not worth a step out of order. */
const many = 1_000
const leastMs = 25
const timesAsLong = 10
/** A look that takes no longer was not slowed down by what is dead: so much, and so much for each job that it found. */
const quickMs = { look: 10, job: 0.1 } as const

export function createFloor(now: () => number): Floor {
  let floor: string | null = null
  let until = 0
  let wasSlow = false
  let inARow = 0

  return {
    next: (proves) => (proves || now() >= until ? null : floor),
    answered({ from, tripMs, jobs, isFull }) {
      if (from === null) {
        wasSlow = tripMs > quickMs.look + jobs.length * quickMs.job
        until = now() + Math.max(leastMs, timesAsLong * tripMs)
      }
      inARow = isFull ? inARow + jobs.length : 0
      const first = jobs[0]?.job
      const last = jobs.at(-1)?.job
      // Jobs of one priority come in the order of ids.
      if (first?.priority !== last?.priority || !(inARow >= many || wasSlow)) until = 0
      else if (last !== undefined) floor = last.id
    },
  }
}
