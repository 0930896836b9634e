/**
 * One loop waits, and others tell it that something has changed.
 *
 * The wait's own condition says when it is over. It is asked when the wait begins, and at each `look`. So whoever
 * changes what a condition reads calls `look` after that: a change before the wait is seen at its begin, one during the
 * wait at the look, and none is missed. A look that comes while nobody waits costs a comparison.
 */
export interface Wakeup {
  /** What the wait waits for may have come. */
  look(): void
  /**
   * Resolves when `isOver()`, or after `ms`. One wait at a time.
   *
   * @param ms - default: without end
   */
  wait(isOver: () => boolean, ms?: number): Promise<void>
}

export function createWakeup(): Wakeup {
  let waiting: (() => void) | null = null
  return {
    look: () => waiting?.(),
    wait(isOver, ms = Number.POSITIVE_INFINITY) {
      if (ms <= 0 || isOver()) return Promise.resolve()
      return new Promise((resolve) => {
        const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(end, ms)
        function end(): void {
          clearTimeout(timer)
          waiting = null
          resolve()
        }
        waiting = () => {
          if (isOver()) end()
        }
      })
    },
  }
}

/** Any number of those that wait for one event, which comes again and again. */
export interface Waiters {
  /** Resolves at the next `tellAll`. */
  wait(): Promise<void>
  tellAll(): void
}

export function createWaiters(): Waiters {
  let waiting: (() => void)[] = []
  return {
    wait: () => new Promise((resolve) => void waiting.push(resolve)),
    tellAll() {
      if (waiting.length === 0) return
      const all = waiting
      waiting = []
      for (const tell of all) tell()
    },
  }
}
