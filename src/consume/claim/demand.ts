import type { Gate } from '../gate.js'
import type { InFlight } from '../in-flight.js'
import type { ConsumerOptions } from '../options.js'
import type { ClaimSize } from './claim-size.js'
import { jobsToAskFor } from './jobs-to-ask-for.js'
import type { LookAhead } from './look-ahead.js'
import { isAboutToClaim, type LoopState } from './loop-state.js'
import type { Quota } from './quota.js'

/** How many jobs this consumer wants now, and whether a claim is coming for them. */
export interface Demand {
  /** For the next claim. @param waitingAcks - that it could take along. @returns 0 or less: none */
  jobs(waitingAcks: number): number
  /** Whether a second claim may go beside the first. */
  readonly overlaps: boolean
  /** Whether acks had better wait for a claim: one is in flight, is about to be sent, or will be after jobs at hand. */
  isClaimComing(waitingAcks: number): boolean
}

interface DemandParts extends Pick<ConsumerOptions, 'concurrency' | 'prefetch'> {
  readonly state: LoopState
  readonly gate: Gate
  readonly inFlight: InFlight
  readonly lookAhead: LookAhead
  readonly claimSize: ClaimSize
  readonly quota: Quota
}

/** Look-ahead from which on a second claim is worth its statement. */
const leastToOverlap = 100

export function createDemand(parts: DemandParts): Demand {
  const { state, gate, inFlight, lookAhead, claimSize, quota, concurrency, prefetch } = parts

  function mostAhead(): number {
    return state.lanes > 0 ? 0 : Math.min(lookAhead.jobs, claimSize.mostHeld)
  }

  /**
   * Not with a number as `prefetch`: held jobs stay held then, whatever handlers do, and acks must not wait for that.
   */
  function overlapsWith(ahead: number): boolean {
    return prefetch === 'earned' && ahead >= leastToOverlap
  }

  function jobs(waitingAcks: number): number {
    const ahead = mostAhead()
    return jobsToAskFor(inFlight, waitingAcks, {
      slots: concurrency,
      ahead,
      mostPerClaim: claimSize.most,
      mostLeft: quota.left,
      overlaps: overlapsWith(ahead),
      least: state.lanes > 0 ? state.leastBeside : null,
    })
  }

  return {
    jobs,
    get overlaps() {
      return overlapsWith(mostAhead())
    },
    isClaimComing(waitingAcks) {
      if (isAboutToClaim(state, gate, () => jobs(waitingAcks))) return true
      return inFlight.held > 0 && overlapsWith(mostAhead()) && gate.isOpen && !state.isStopping
    },
  }
}
