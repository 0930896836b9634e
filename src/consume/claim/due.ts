import createDebug from 'debug'
import { longestTimerMs } from '../../checks.js'
import { toError } from '../../errors.js'

const log = createDebug('bugle:due')

/**
 * When the next scheduled job of a queue is due, and what to do then. One a consumer; one timer, no polling.
 *
 * **What is known.** `dueAt` is the nearest run_at of the queue, on our own monotonic clock. It comes from the database
 * as "in so many ms", so the two clocks are never compared. A claim that was not full says it, so does a promotion, and
 * so does a sweep. What can come in between, and why a sleeping consumer is not late for it:
 * - a row is scheduled that is due within a minute: its trigger notifies like a put, by the same lock, and the claim
 *   that follows says when. The sleep protocol's argument holds for it word for word: a writer that tested the lock
 *   before it was taken is seen by the claim that pays the debt;
 * - a row that is due later is silent. The sweeper looks at least every 30 s while consumers sleep, so it is known half
 *   a minute before it is due. (A transaction that schedules a row and stays open until less than half a minute before
 *   it is due can be late, by half a minute at most.)
 *
 * **When it is due,** the consumer promotes: due rows become ready, in claim order beside all others, and their trigger
 * wakes whoever sleeps; the consumer itself is raised. It does so as well when a claim says that a row is due. Rows
 * that are locked are tried again, after 5 ms, doubling to a second: most often another process has just promoted them.
 *
 * **While it is busy** claims are full and say nothing of scheduled rows, and its writers are silent. So within a
 * second of a full claim it promotes, whatever is known: a backlog must not keep due jobs of a higher priority out for
 * ever.
 *
 * All processes of a queue set their timers for the same row. Promotions skip locked rows, so one of them promotes it.
 */
export interface DueTimer {
  /** Call with the answer of each claim. */
  claimed(answer: ClaimOfDue): void
  /** A sweep has seen when the nearest is due. */
  seen(dueInMs: number): void
  /** Due rows are about to become ready. */
  readonly isPromoting: boolean
  /** How often rows have become ready by it: a claim during which this has changed may not have seen them. */
  readonly promotions: number
  /** Resolves when no promotion is in flight. */
  stop(): Promise<void>
}

/** What a claim tells. */
export interface ClaimOfDue {
  /** Until the nearest is due; 0 or less: it is; null: none is scheduled; 'unknown': it has not looked. */
  readonly dueInMs: number | null | 'unknown'
}

export interface DueTimerParts {
  /** Whether the consumer waits for a wake-up, with a free slot. */
  readonly isWaiting: () => boolean
  /** Make it claim. */
  readonly wake: () => void
  /** Make up to `limit` due rows ready; also when the next is due: 0 or less if one is, null if none is scheduled. */
  readonly promote: (limit: number) => Promise<{ readonly promoted: number; readonly dueInMs: number | null }>
  readonly onError: (error: Error) => void
  readonly now: () => number
}

/** A short statement, as no transaction of ours may be long. */
const promotedAtOnce = 1_000
const busyLookMs = 1_000
const overdueMs = { least: 5, most: 1_000 } as const

export function createDueTimer({ isWaiting, wake, promote, onError, now }: DueTimerParts): DueTimer {
  let dueAt = Number.POSITIVE_INFINITY
  let firesAt = Number.POSITIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  let overdueWaitMs: number = overdueMs.least
  /** The timer is for a promotion that is overdue: further claims that say so leave it where it is. */
  let isOverdue = false
  let claims = 0
  let promoting: Promise<void> | null = null
  let stopped = false
  let promotions = 0

  function setTimer(at: number, fire: () => void): void {
    clearTimeout(timer)
    firesAt = at
    if (stopped || at === Number.POSITIVE_INFINITY) return
    const inMs = Math.min(Math.max(0, Math.ceil(at - now())), longestTimerMs)
    timer = setTimeout(() => {
      firesAt = Number.POSITIVE_INFINITY
      // Only after the longest timer there is.
      if (now() < at - 1) setTimer(at, fire)
      else fire()
    }, inMs)
  }

  function learn(dueInMs: number | null): void {
    dueAt = dueInMs === null ? Number.POSITIVE_INFINITY : now() + dueInMs
    if (dueInMs === null || dueInMs > 0) {
      isOverdue = false
      overdueWaitMs = overdueMs.least
      setTimer(dueAt, startPromoting)
    } else if (!isOverdue) {
      isOverdue = true
      if (overdueWaitMs === overdueMs.least) startPromoting()
      else setTimer(now() + overdueWaitMs, startPromoting)
    }
  }

  /**
   * The answer of a promotion. What a claim has said since the promotion was sent is newer, and stands unless this is
   * sooner.
   */
  function learnUnlessNewer(dueInMs: number | null, claimsBefore: number, promoted: number): void {
    isOverdue = false
    const waitMs = Math.min(overdueWaitMs * 2, overdueMs.most)
    overdueWaitMs = waitMs
    const newer = claims === claimsBefore ? Number.POSITIVE_INFINITY : dueAt - now()
    const soonest = Math.min(newer, dueInMs ?? Number.POSITIVE_INFINITY)
    learn(soonest === Number.POSITIVE_INFINITY ? null : soonest)
    // A claim may still say that a job is due which cannot be promoted: it must not start the next promotion at once,
    // or no claim would ever be without one beside it.
    if (promoted === 0) overdueWaitMs = waitMs
  }

  function startPromoting(): void {
    if (stopped) return
    promoting ??= runPromotion().finally(() => {
      promoting = null
    })
  }

  async function runPromotion(): Promise<void> {
    try {
      for (;;) {
        const claimsBefore = claims
        const { promoted, dueInMs } = await promote(promotedAtOnce)
        if (promoted > 0) {
          promotions += 1
          log('%d due jobs are ready', promoted)
          wake()
        }
        if (promoted < promotedAtOnce || stopped) return learnUnlessNewer(dueInMs, claimsBefore, promoted)
      }
    } catch (error) {
      onError(toError(error))
      // A part may have been made ready, unseen by a claim that is on its way.
      promotions += 1
      wake()
      isOverdue = false
      setTimer(now() + busyLookMs, startPromoting)
    }
  }

  return {
    claimed({ dueInMs }) {
      claims += 1
      if (dueInMs !== 'unknown') return learn(dueInMs)
      if (now() >= dueAt && !isOverdue) return startPromoting()
      if (firesAt > now() + busyLookMs) setTimer(now() + busyLookMs, startPromoting)
    },
    seen(dueInMs) {
      const at = now() + dueInMs
      // Due, and not known to be: somebody's writes were silent. A claim finds out how it stands.
      if (dueInMs <= 0 && isWaiting()) wake()
      else if (at < dueAt) learn(dueInMs)
    },
    get promotions() {
      return promotions
    },
    get isPromoting() {
      return promoting !== null
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await promoting
    },
  }
}
