import type { ServedQueue } from '../worker/heartbeat.js'
import type { WorkerConsumer } from '../worker/parts.js'
import type { Dispatcher } from './claim/dispatcher.js'
import type { DueTimer } from './claim/due.js'
import type { LoopState } from './claim/loop-state.js'
import type { Reasons } from './claim/reasons.js'
import type { InFlight } from './in-flight.js'
import type { Abort } from './run/abort.js'
import type { Runs } from './run/runs.js'
import type { Settler } from './settle/settler.js'
import type { Tally } from './tally.js'

interface MemberParts {
  readonly queue: string
  readonly concurrency: number
  readonly kinds: ServedQueue['kinds']
  readonly state: LoopState
  readonly reasons: Reasons
  readonly inFlight: InFlight
  readonly runs: Runs
  readonly abort: Abort
  readonly settler: Settler
  readonly due: DueTimer
  readonly dispatcher: Dispatcher
  readonly tally: Tally
  readonly isStopping: () => boolean
  readonly queuePaused: () => void
}

/** What the worker sees of a consumer, and tells it. */
export function memberOf(parts: MemberParts): WorkerConsumer {
  const { queue, concurrency, kinds, state, reasons, inFlight, runs, abort, settler, due, dispatcher, tally } = parts
  return {
    queue,
    get serves() {
      return parts.isStopping() ? null : { queue, concurrency, kinds, isPaused: state.isPaused }
    },
    raise: reasons.raise,
    hurry() {
      settler.hurry()
      dispatcher.hurry()
    },
    notified() {
      if (dispatcher.notified()) tally.count('wakeUps')
    },
    swept() {
      // While it is awake its own next claim would have found them as well.
      if (state.isAsleep) tally.count('sweepsThatFound')
      reasons.raise()
    },
    dueSeen: due.seen,
    get isWaiting() {
      return state.isWaiting
    },
    get isUnprotected() {
      return dispatcher.isUnprotected
    },
    get isQueuePaused() {
      return state.mode === 'queue-paused'
    },
    queuePaused: parts.queuePaused,
    get countsDozers() {
      return dispatcher.countsDozers
    },
    dozersSeen: dispatcher.dozersSeen,
    knows: runs.knows,
    get claimingSince() {
      return inFlight.oldestClaimAt
    },
    cancel(jobId) {
      abort((run) => run.claimed.job.id === jobId, 'CANCELLED', 'it was cancelled')
    },
    lost(workerId) {
      const why = 'this process was taken for dead, and others may run the job'
      abort((run) => run.claimed.workerId === workerId, 'LEASE_LOST', why)
    },
  }
}
