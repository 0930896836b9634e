import { closedError } from '../database/database.js'
import { BugleError, describe } from '../errors.js'
import type { StopOptions } from '../options.js'
import type { StopReport } from '../stop-report.js'
import { createSuspectTurn } from './claim/suspects.js'
import { type Consumer, type Consuming, startConsumer } from './consumer.js'
import type { ConsumerParts } from './consumer-parts.js'
import type { ConsumerOptions } from './options.js'
import { resolveHandlers } from './run/handlers.js'
import type { StepLimit } from './step.js'
import { stoppedConsumer } from './stopped.js'

/**
 * The consumers of one instance, at most one per queue, from the wait for the database to the end of the last abandoned
 * run.
 *
 * - **joining**: the worker is being joined, which may last as long as an outage. A stop of all aborts it, and makes a
 *   consumer of it that is stopped.
 * - **begun**: it claims. A stop of all stops it.
 * - **stopped**: its queue may be consumed again. It counts as present as long as a run goes on that it had to abandon.
 */
export interface Consumers {
  /** @throws BugleError `ALREADY_CONSUMING`, `INVALID_OPTION`, what joining throws; the reason of its own signal */
  consume(queue: string, handlers: unknown, options: ConsumerOptions): Promise<Consumer>
  /** @throws as `consume`; but once it has begun, an end by signal or close is an end like any other */
  drain(queue: string, handlers: unknown, options: DrainedOptions, limit?: StepLimit): Promise<StopReport>
  readonly isEmpty: boolean
  /** By queue; null: it has not begun. */
  all(): ReadonlyMap<string, Consumer | null>
  /** Stopped ones included, whose runs go on. */
  readonly isAnyPresent: boolean
  /**
   * Stop all that are there, or make it shorter.
   *
   * @returns resolves when they have stopped: with the latest deadline on performance.now(); -Infinity: there were none
   */
  stop(times: StopOptions | undefined): Promise<number>
}

type DrainedOptions = ConsumerOptions & { readonly until: 'ready' | 'scheduled' }

interface ConsumersParts extends Omit<ConsumerParts, 'queue' | 'handlers' | 'options' | 'limit' | 'suspectTurn'> {}

interface Entry {
  /** Rejects if the consumer could not begin. */
  readonly joining: Promise<Consuming>
  /** null: it has not begun. */
  consuming: Consuming | null
  abort(): void
}

interface Begun extends Pick<Consuming, 'consumer' | 'drained'> {
  /** false: it is being stopped, and its first claim was not done before that. */
  readonly hasStarted: boolean
}

export function createConsumers(parts: ConsumersParts): Consumers {
  const entries = new Map<string, Entry>()
  const present = new Set<Consuming>()
  const suspectTurn = createSuspectTurn()

  async function begin(
    queue: string,
    given: unknown,
    options: ConsumerOptions,
    limit: StepLimit | null = null,
  ): Promise<Begun> {
    const handlers = resolveHandlers(given, options.unknownKinds)
    if (entries.has(queue)) {
      throw new BugleError(
        'ALREADY_CONSUMING',
        `this instance consumes the queue ${describe(queue)} already: once is enough, with more concurrency`,
      )
    }
    const closed = new AbortController()
    const signal = options.signal ? AbortSignal.any([closed.signal, options.signal]) : closed.signal
    const joining = join({ queue, handlers, options, limit }, signal)
    const entry: Entry = { joining, consuming: null, abort: () => closed.abort(closedError()) }
    entries.set(queue, entry)
    try {
      const consuming = await joining
      entry.consuming = consuming
      const { consumer, started, drained, gone } = consuming
      void consumer.stopped.then(() => entries.delete(queue))
      present.add(consuming)
      void gone.then(() => present.delete(consuming))
      const hasStarted = await Promise.race([started, consumer.stopped.then(() => false)])
      return { consumer, drained, hasStarted }
    } catch (error) {
      entries.delete(queue)
      if (!closed.signal.aborted) throw error
      return { consumer: stoppedConsumer(queue, options), drained: async () => {}, hasStarted: false }
    }
  }

  async function join(
    own: Omit<ConsumerParts, keyof ConsumersParts | 'suspectTurn'>,
    signal: AbortSignal,
  ): Promise<Consuming> {
    signal.throwIfAborted()
    await parts.worker.join(signal)
    return startConsumer({ ...parts, ...own, suspectTurn }, signal)
  }

  async function stopOne({ joining }: Entry, times: StopOptions | undefined): Promise<number> {
    const consuming = await joining
    await consuming.consumer.stop(times)
    return consuming.deadlineAt
  }

  return {
    async consume(queue, handlers, options) {
      const { consumer, hasStarted } = await begin(queue, handlers, options)
      if (hasStarted) return consumer
      await consumer.stopped
      options.signal?.throwIfAborted()
      return consumer
    },
    async drain(queue, handlers, options, limit) {
      const { consumer, drained } = await begin(queue, handlers, options, limit)
      await drained(options.until)
      return consumer.stop()
    },
    get isEmpty() {
      return entries.size === 0
    },
    all: () => new Map([...entries].map(([queue, { consuming }]) => [queue, consuming?.consumer ?? null])),
    get isAnyPresent() {
      return present.size > 0
    },
    async stop(times) {
      const all = [...entries.values()]
      for (const { consuming, abort } of all) if (consuming === null) abort()
      // One that is aborted while it joins has no deadline of its own.
      const ends = all.map((entry) => stopOne(entry, times).catch(() => Number.NEGATIVE_INFINITY))
      return Math.max(Number.NEGATIVE_INFINITY, ...(await Promise.all(ends)))
    },
  }
}
