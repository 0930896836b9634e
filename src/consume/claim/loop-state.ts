import createDebug from 'debug'
import type { Gate } from '../gate.js'

const log = createDebug('bugle:dispatcher')

/**
 * What the loop of a dispatcher does now. It is in one mode at a time, and the loop alone enters them (dispatcher.ts,
 * loop-claim.ts, and its waits in reasons.ts); all others read it. `DEBUG=bugle:dispatcher` shows each.
 */
export type Mode =
  /** Neither claims nor waits: between two of the others, in one turn of the event loop or a few. */
  | 'awake'
  /** A claim is in flight. */
  | 'claiming'
  /** No job is wanted: it waits for a slot. */
  | 'full'
  /** The gate is closed, or the consumer is paused: it waits for that to end. */
  | 'closed'
  /** Awake without K, for the time of its timer (sleep.ts). */
  | 'lingering'
  /** For a short time, or none, until its next claim: jobs were left behind, or a debt is new. A wake-up ends it. */
  | 'waiting'
  /** An express lane takes the backlog: until the next claim beside it, for what is not for a lane. */
  | 'beside-lane'
  /** After an error, until its next claim. */
  | 'failing'
  /** With K, until all older writers have ended: a debt (sleep.ts). */
  | 'paying'
  /** Until it is woken, with K; without K also for a time. It may doze (doze.ts). */
  | 'asleep'
  /** Its last claim found the queue paused, for all processes: until that is over. */
  | 'queue-paused'
  /** For good. */
  | 'stopped'

export interface LoopState {
  readonly mode: Mode
  enter(mode: Mode): void
  /** It waits, asleep or for its next claim: then, and only then, a sweep is of use to it. */
  readonly isWaiting: boolean
  /** It waits for a wake-up, above all. */
  readonly isAsleep: boolean
  /** The consumer is, in this process. What is in flight may still end. */
  isPaused: boolean
  /** The consumer stops. The same. */
  isStopping: boolean
  /** Express lanes that work. */
  lanes: number
  /** When suspects were last seen to wait, on performance.now(). */
  suspectsSeenAt: number
  /** What a claim beside lanes asks for at least, in jobs: more than one while it finds what no lane takes. */
  leastBeside: number
}

export function createLoopState(): LoopState {
  let mode: Mode = 'awake'
  return {
    get mode() {
      return mode
    },
    enter(next) {
      if (next !== mode && next !== 'awake' && log.enabled) log('%s', next)
      mode = next
    },
    get isWaiting() {
      return mode === 'asleep' || mode === 'paying' || mode === 'lingering' || mode === 'waiting'
    },
    get isAsleep() {
      return mode === 'asleep' || mode === 'paying'
    },
    isPaused: false,
    isStopping: false,
    lanes: 0,
    suspectsSeenAt: Number.NEGATIVE_INFINITY,
    leastBeside: 1,
  }
}

export function mayClaim({ isPaused }: LoopState, gate: Gate): boolean {
  return !isPaused && gate.isOpen
}

/** Whether a claim is in flight, or will be sent in this turn of the event loop or the next. */
export function isAboutToClaim(state: LoopState, gate: Gate, wanted: () => number): boolean {
  if (state.isStopping) return false
  return state.mode === 'claiming' || (state.mode === 'full' && mayClaim(state, gate) && wanted() > 0)
}
