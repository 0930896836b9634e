/**
 * The jobs of one consumer that the database refuses to claim or to make ready, each for a while: a second at first,
 * twice as long each time, a minute at most. What refuses them (a trigger of the application's, a damaged row) is
 * outside of us and may be mended at any time, and nobody tells.
 *
 * At most `most` at a time: a queue whose every row is refused is no matter of single jobs.
 */
interface PassedOver {
  /** Those that are passed over now. */
  readonly ids: readonly string[]
  readonly isFull: boolean
  /** @returns for how long, in ms */
  add(id: string): number
  /** Until the first of them is tried again, in ms; null: there is none. */
  readonly nextInMs: number | null
}

interface PassedOverParts {
  /** One may be tried again. */
  readonly wake: () => void
  readonly now: () => number
}

const firstMs = 1_000
const mostMs = 60_000
const most = 1_000

export function createPassedOver({ wake, now }: PassedOverParts): PassedOver {
  const all = new Map<string, { until: number; forMs: number }>()
  let timer: NodeJS.Timeout | undefined
  let firesAt = Number.POSITIVE_INFINITY

  function current(): string[] {
    if (all.size === 0) return []
    const at = now()
    const ids: string[] = []
    for (const [id, { until, forMs }] of all) {
      if (until > at) ids.push(id)
      // Not refused again for as long: it was taken, by whomever.
      else if (until + forMs < at) all.delete(id)
    }
    return ids
  }

  function nextAt(): number {
    const at = now()
    let next = Number.POSITIVE_INFINITY
    for (const { until } of all.values()) if (until > at) next = Math.min(next, until)
    return next
  }

  function setTimer(): void {
    const at = nextAt()
    if (at === Number.POSITIVE_INFINITY || firesAt <= at) return
    clearTimeout(timer)
    firesAt = at
    timer = setTimeout(
      () => {
        firesAt = Number.POSITIVE_INFINITY
        setTimer()
        wake()
      },
      Math.ceil(at - now()) + 1,
    ).unref()
  }

  return {
    get ids() {
      return current()
    },
    get isFull() {
      return current().length >= most
    },
    add(id) {
      const before = all.get(id)
      const forMs = before === undefined ? firstMs : Math.min(2 * before.forMs, mostMs)
      all.set(id, { until: now() + forMs, forMs })
      setTimer()
      return forMs
    },
    get nextInMs() {
      const at = nextAt()
      return at === Number.POSITIVE_INFINITY ? null : at - now()
    },
  }
}
