import { longestTimerMs } from './checks.js'

/**
 * A moment that only comes nearer, and waits that end at it. Whoever closes or stops something may be asked again while
 * it does so, to be done sooner; no later call may give it more time.
 *
 * **What may interleave.** `sooner` may be called at any time: before a wait, between its call and its first look at
 * the clock, while its timer runs, and after its end. None is missed. From its call on a wait is told of each move and
 * looks again, and each look reads the moment anew. So it ends at the nearest moment that was ever set, whenever that
 * was.
 *
 * **What is over already is before**, also where no time is left. A wait looks at the clock a turn of the event loop
 * after its call, and after a move: what has settled by then was before.
 *
 * **Why it ends.** The clock goes on, and the moment never moves away. A timer that fires too early, or that is shorter
 * than the wait because no timer is as long, looks again. Only a moment that nobody sets (Infinity) leaves all to the
 * promise.
 */
export interface Moment {
  /** By the clock that it was made with; Infinity: not set yet. */
  readonly at: number
  /**
   * Move it there, if that is sooner.
   *
   * @returns whether it has moved
   */
  sooner(at: number): boolean
  /**
   * Wait for the promise, or for the moment. Any number of waits at a time.
   *
   * @returns whether the promise was fulfilled before the moment; rejects as the promise does, if that comes first
   */
  before(promise: Promise<unknown>): Promise<boolean>
}

/**
 * @param now - in milliseconds
 * @param at - where it is at first
 */
export function createMoment(now: () => number, at = Number.POSITIVE_INFINITY): Moment {
  let nearest = at
  /** One per wait: it looks how much time is left. */
  const looks = new Set<() => void>()

  return {
    get at() {
      return nearest
    },
    sooner(next) {
      const isSooner = next < nearest
      if (isSooner) {
        nearest = next
        for (const look of looks) look()
      }
      return isSooner
    },
    before(promise) {
      return new Promise((resolve, reject) => {
        let timer: NodeJS.Timeout | undefined
        function look(): void {
          if (!looks.has(lookSoon)) return
          clearTimeout(timer)
          const leftMs = nearest - now()
          if (leftMs <= 0) end(false)
          else if (leftMs < Number.POSITIVE_INFINITY) {
            timer = setTimeout(look, Math.min(Math.ceil(leftMs), longestTimerMs))
          }
        }
        function lookSoon(): void {
          setImmediate(look)
        }
        function stopWaiting(): void {
          clearTimeout(timer)
          looks.delete(lookSoon)
        }
        function end(isBefore: boolean): void {
          stopWaiting()
          resolve(isBefore)
        }
        looks.add(lookSoon)
        promise.then(
          () => end(true),
          (error) => {
            stopWaiting()
            reject(error)
          },
        )
        lookSoon()
      })
    },
  }
}
