/** A wait that ended before its answer came. The work itself may still happen. */
export class DeadlineError extends Error {
  override name = 'DeadlineError'
  readonly code = 'DEADLINE'
}

/**
 * The promise's own end, or a DeadlineError after `ms`.
 *
 * Neither driver has a time-out that also holds on a half-open connection, where a statement waits for ever.
 * A result that comes later is dropped; a later rejection is not unhandled.
 */
export function deadline<T>(promise: PromiseLike<T>, ms: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = startDeadline(ms, what, reject)
    promise.then(
      (value) => {
        clearTimeout(timer)
        resolve(value)
      },
      (error) => {
        clearTimeout(timer)
        reject(error)
      },
    )
  })
}

/**
 * As `deadline`, for what is no promise yet: `expire` is called after `ms`, unless the timer is cleared before. What is
 * over by then must not mind it: a timer that has run out cannot be cleared any more.
 */
export function startDeadline(ms: number, what: string, expire: (error: DeadlineError) => void): NodeJS.Timeout {
  return setTimeout(() => {
    // A blocked event loop ends timers before it reads sockets: an answer that lies there already must count.
    setImmediate(() => setImmediate(() => expire(new DeadlineError(`${what}: no answer within ${ms} ms`))))
  }, ms)
}

/** How often it is looked whether there was a sign of life, in one time limit. */
const looksPerLimit = 5

/**
 * As `deadline`, but the time begins anew with each sign of life: a link may be slow, and all is well.
 *
 * @param signs - a number that grows with each, such as the bytes that were read
 */
export function whileAlive<T>(promise: PromiseLike<T>, ms: number, what: string, signs: () => number): Promise<T> {
  return new Promise((resolve, reject) => {
    let seen = signs()
    let silentLooks = 0
    let isOver = false
    let timer: NodeJS.Timeout | undefined
    function look(): void {
      const now = signs()
      silentLooks = now === seen ? silentLooks + 1 : 0
      seen = now
      if (isOver) return
      if (silentLooks === looksPerLimit) reject(new DeadlineError(`${what}: no answer within ${ms} ms`))
      else lookLater()
    }
    function lookLater(): void {
      timer = startDeadline(ms / looksPerLimit, what, look)
    }
    function end(): void {
      isOver = true
      clearTimeout(timer)
    }
    lookLater()
    promise.then(resolve, reject)
    promise.then(end, end)
  })
}

/** The promise's end, or the abort's reason, whichever comes first. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
