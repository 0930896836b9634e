/** What `on(name, { signal })` returns: the events from that call on, for one `for await`. */
export interface EventStream<Data> extends AsyncIterableIterator<Data, undefined, undefined>, AsyncDisposable {
  /** Ends it: a loop that is left calls this. */
  return(): Promise<IteratorResult<Data, undefined>>
}

/** The same, and how it ends from the other side. */
interface OwnedStream<Data> {
  readonly stream: EventStream<Data>
  /** Nothing more comes; what was gathered is still read. */
  end(): void
  /** The same, and what was gathered is dropped. */
  stop(): void
}

const done = { value: undefined, done: true } as const

/**
 * Events as an async iterator. It listens from the first, not from the first `next`, so nothing in between is missed;
 * what comes while the loop's body runs gathers, without a bound.
 *
 * It ends when the loop is left, when `signal` aborts (what was gathered is dropped then), or from the other side.
 *
 * @param subscribe - begins to listen. @returns what ends that
 */
export function createEventStream<Data>(
  subscribe: (listener: (data: Data) => void) => () => void,
  signal: AbortSignal | undefined,
  onEnd: () => void,
): OwnedStream<Data> {
  let gathered: Data[] = []
  const takers: ((result: IteratorResult<Data, undefined>) => void)[] = []
  let isOver = false

  const unsubscribe = subscribe((data) => {
    const take = takers.shift()
    if (take === undefined) gathered.push(data)
    else take({ value: data, done: false })
  })

  function end(): void {
    if (isOver) return
    isOver = true
    unsubscribe()
    signal?.removeEventListener('abort', stop)
    for (const take of takers.splice(0)) take(done)
    onEnd()
  }

  function stop(): void {
    gathered = []
    end()
  }

  signal?.addEventListener('abort', stop, { once: true })

  const stream: EventStream<Data> = {
    [Symbol.asyncIterator]: () => stream,
    async next() {
      const data = gathered.shift()
      if (data !== undefined) return { value: data, done: false }
      return isOver ? done : new Promise((resolve) => takers.push(resolve))
    },
    async return() {
      stop()
      return done
    },
    async [Symbol.asyncDispose]() {
      stop()
    },
  }
  return { stream, end, stop }
}
