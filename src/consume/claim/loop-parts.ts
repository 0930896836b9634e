import type { UnprotectedReason } from '../../events.js'
import type { Gate } from '../gate.js'
import type { SleepLock } from './lock-taking.js'
import type { LoopState } from './loop-state.js'
import type { Reasons } from './reasons.js'
import type { ClaimSigns } from './sleep.js'

/** What the loop of a dispatcher is given. */
export interface DispatcherParts<Job> {
  readonly state: LoopState
  readonly reasons: Reasons
  /** `proves`: whether it matters if ready jobs are left behind; otherwise `leftBehind` is false. */
  readonly claim: (limit: number, proves: boolean) => Promise<ClaimAnswer<Job>>
  readonly start: (jobs: readonly Job[]) => void
  /** Jobs that were claimed and shall not run: the consumer has stopped meanwhile. */
  readonly giveBack: (jobs: readonly Job[]) => void
  readonly gate: Gate
  /** How many jobs the next claim should ask for, whatever is in flight. 0 or less: none. */
  readonly wanted: () => number
  /** Whether a second claim may be in flight: one that only takes. */
  readonly overlaps: () => boolean
  /** No claim is about to be sent any more: what waited for one need not wait. */
  readonly onRest: () => void
  /** The queue's sleep lock; null where nothing is listened to. */
  readonly lock: SleepLock | null
  /** Whether it may leave a wake-up to others that sleep: not if it takes some jobs only. */
  readonly dozes: boolean
  /**
   * A claim for so many jobs was full: there may be more than those who are awake can take. Wake those who doze, if so.
   */
  readonly callOthers: (asked: number) => void
  /** Whether a transaction with an id below `target` holds ROW EXCLUSIVE on the job table. */
  readonly writing: (target: bigint) => Promise<boolean>
  readonly onError: (error: Error) => void
  readonly onUnprotected: (reason: UnprotectedReason, pid: number | null) => void
  /** It waits for a wake-up without K: sweeps must come often now. */
  readonly onWaitingUnprotected: () => void
  readonly now: () => number
  readonly random: () => number
}

export interface ClaimAnswer<Job> extends ClaimSigns {
  readonly jobs: readonly Job[]
  /** The queue is, for all processes: nothing was taken, whatever is there. */
  readonly paused: boolean
}
