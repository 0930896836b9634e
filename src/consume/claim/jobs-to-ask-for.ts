import type { Where } from '../in-flight.js'
import { mostAtOnce } from '../most-at-once.js'

export interface Wishes {
  /** Slots in all. */
  readonly slots: number
  /** Jobs that may be held beyond the slots. */
  readonly ahead: number
  /** What one claim may bring, by what jobs weigh. */
  readonly mostPerClaim: number
  /** What the consumer may still claim in all. */
  readonly mostLeft: number
  /** A second claim may go beside the first. */
  readonly overlaps: boolean
  /** Beside an open lane one more than there are slots: what is not for the lane must not wait for its end. */
  readonly least: number | null
}

/**
 * How many jobs the next claim asks for: free slots and look-ahead, less the jobs that are claimed and not gone, and
 * less those that claims in flight ask for. An ack that waits, or travels with a claim, counts as gone: a slot must not
 * stay empty for a round trip longer than it has to.
 *
 * While jobs are held and claims overlap, a few jobs are not worth a claim: a few large ones cost less than many small
 * ones, and more of the jobs at hand can end first.
 *
 * @param waitingAcks - that are not on their way
 * @returns 0 or less: none
 */
export function jobsToAskFor({ asked, held, claimed, travelling }: Where, waitingAcks: number, wishes: Wishes): number {
  const { slots, ahead, mostPerClaim, mostLeft, overlaps, least } = wishes
  const taken = claimed + asked - travelling - Math.min(waitingAcks, mostAtOnce)
  const free = slots - taken
  const bySlots = Math.max(free, Math.min(free + ahead, mostAtOnce), least ?? free)
  const jobs = Math.min(bySlots, mostPerClaim, mostLeft - asked)
  return overlaps && held > 0 && jobs < ahead / 4 ? 0 : jobs
}
