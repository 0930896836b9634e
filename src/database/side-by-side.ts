/**
 * The first of several tries that succeeds; they run side by side, each with a head start before the next.
 *
 * A try begins when the one before it has failed or its head start is over, so one that gets no answer (a host that
 * has vanished without a reset) does not hold up the others. What has failed is tried again while another one is still
 * silent: a standby that refuses us now may be the primary in a second, and the silent one may take long. The whole
 * fails when the last one that was silent has failed as well.
 *
 * @param tries - in their order; each must end when its signal is aborted
 * @param discard - for what a try brings after the end, or beside another success
 * @returns the first success
 * @throws the error of the last in order, but of one that may pass before one that lasts; the signal's reason
 */
export function sideBySide<T>(
  tries: readonly ((signal: AbortSignal) => Promise<T>)[],
  { headStartMs, againMs, signal, discard, isLasting = () => false }: Timing<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    // Not AbortSignal.any: a signal that lives as long as the process would remember each that was made of it.
    const over = new AbortController()
    const timers = new Set<NodeJS.Timeout>()
    const errors: unknown[] = []
    let begun = 0
    let running = 0

    function end(settle: () => void): void {
      if (over.signal.aborted) return
      for (const timer of timers) clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      over.abort(signal?.reason)
      settle()
    }

    function abort(): void {
      end(() => reject(signal?.reason))
    }

    function after(ms: number, then: () => void): NodeJS.Timeout {
      const timer = setTimeout(() => {
        timers.delete(timer)
        then()
      }, ms)
      timers.add(timer)
      return timer
    }

    function beginNext(): void {
      const index = begun
      begun += 1
      const headStart = begun < tries.length ? after(headStartMs, beginNext) : undefined
      void attempt(index, () => {
        if (headStart === undefined || !timers.delete(headStart)) return
        clearTimeout(headStart)
        beginNext()
      })
    }

    async function attempt(index: number, onFailed: () => void): Promise<void> {
      running += 1
      try {
        const result = await (tries[index] as (typeof tries)[number])(over.signal)
        if (over.signal.aborted) discard(result)
        else end(() => resolve(result))
        return
      } catch (error) {
        errors[index] = error
      } finally {
        running -= 1
      }
      if (over.signal.aborted) return
      onFailed()
      if (running > 0) after(againMs, () => void attempt(index, () => {}))
      else if (begun === tries.length) end(() => reject(errors.findLast((error) => !isLasting(error)) ?? errors.at(-1)))
    }

    if (signal?.aborted) return abort()
    signal?.addEventListener('abort', abort, { once: true })
    beginNext()
  })
}

interface Timing<T> {
  readonly headStartMs: number
  readonly againMs: number
  readonly signal?: AbortSignal | undefined
  readonly discard: (late: T) => void
  /** Whether an error will come again each time. */
  readonly isLasting?: (error: unknown) => boolean
}
