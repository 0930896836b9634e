/**
 * Notices that the event loop was blocked: a timer that should have fired long ago.
 *
 * A process that computes without yielding cannot abort, settle or read its socket in time, so it should not take more
 * work on; and one that was stopped (SIGSTOP, a paused virtual machine) looks the same to itself when it goes on. It
 * lags until a tick comes on time again. A look before the late timer has fired sees it too: `isLagging` looks at the
 * clock.
 */
interface Lag {
  readonly isLagging: boolean
  start(): void
  stop(): void
}

interface LagOptions {
  /** It was blocked for so long; called once per late tick. */
  readonly onLag: (ms: number) => void
  /** It runs freely again. */
  readonly onFree: () => void
  readonly now: () => number
}

const tickMs = 500
const lateMs = 1_000

export function createLag({ onLag, onFree, now }: LagOptions): Lag {
  let timer: NodeJS.Timeout | undefined
  let dueAt = Number.POSITIVE_INFINITY
  let wasLate = false

  function arm(): void {
    dueAt = now() + tickMs
    timer = setTimeout(tick, tickMs)
    timer.unref()
  }

  function tick(): void {
    const ms = now() - dueAt
    const isLate = ms > lateMs
    const isFree = wasLate && !isLate
    wasLate = isLate
    arm()
    if (isLate) onLag(Math.round(ms))
    if (isFree) onFree()
  }

  return {
    get isLagging() {
      return wasLate || now() - dueAt > lateMs
    },
    start: arm,
    stop() {
      clearTimeout(timer)
      dueAt = Number.POSITIVE_INFINITY
      wasLate = false
    },
  }
}
