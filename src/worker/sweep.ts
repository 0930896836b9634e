import createDebug from 'debug'
import { jitter } from '../backoff.js'
import { toError } from '../errors.js'

const log = createDebug('bugle:sweep')

/**
 * The slow safety net: one statement per worker asks which of its sleeping queues have ready rows, and when the nearest
 * scheduled one of each is due.
 *
 * Ready rows: it finds what no notification tells of: rows written with triggers off, and everything while the listener
 * is not live or a consumer sleeps without its lock. Then, and while the server's queue of notifications fills
 * (listen/notify-queue.ts), it comes every second, otherwise every `sweepMs`.
 * Scheduled rows: those that are due in more than a minute are silent, so it looks every half minute at least (see
 * due.ts).
 */
interface Sweeper {
  start(): void
  /** What it depends on has changed: look again at how soon the next sweep must come. */
  hurry(): void
  stop(): void
}

export interface Sweepable {
  readonly queue: string
  readonly isWaiting: boolean
  readonly isUnprotected: boolean
  /** A sweep has seen ready jobs in its queue. */
  swept(): void
  /** The nearest scheduled job of its queue is due in so many ms. */
  dueSeen(dueInMs: number): void
}

/** What a look finds of one queue; a queue of which it finds nothing is left out. */
export interface Seen {
  readonly name: string
  readonly ready: boolean
  readonly dueInMs: number | null
}

interface SweeperOptions {
  /** Between sweeps while all is well, jittered by a tenth; 0: none. */
  readonly sweepMs: number
  /** Whether whatever is written is notified of, and heard. */
  readonly isLive: () => boolean
  readonly consumers: () => readonly Sweepable[]
  readonly look: (queues: readonly string[]) => Promise<readonly Seen[]>
  readonly random: () => number
}

const shortMs = 1_000
const dueLookMs = 30_000

export function createSweeper({ sweepMs, isLive, consumers, look, random }: SweeperOptions): Sweeper {
  let timer: NodeJS.Timeout | undefined
  /** On performance.now(): when to look next, and from when on a look counts as a sweep. */
  let looksAt = Number.POSITIVE_INFINITY
  let sweepsAt = Number.POSITIVE_INFINITY
  let looking = false
  let stopped = true

  function schedule(): void {
    if (stopped || looking) return
    const now = performance.now()
    const isShort = !isLive() || consumers().some((consumer) => consumer.isUnprotected)
    // What is due sooner than that stays where it is.
    sweepsAt = Math.min(sweepsAt, now + (isShort ? shortMs : untilSweep()))
    const at = Math.min(looksAt, sweepsAt, now + jitter(dueLookMs, 0.9, 1, random))
    if (at === looksAt) return
    looksAt = at
    clearTimeout(timer)
    timer = setTimeout(() => void lookAround(), Math.ceil(at - now))
  }

  function untilSweep(): number {
    return sweepMs === 0 ? Number.POSITIVE_INFINITY : jitter(sweepMs, 0.9, 1.1, random)
  }

  async function lookAround(): Promise<void> {
    looking = true
    looksAt = Number.POSITIVE_INFINITY
    const isSweep = performance.now() >= sweepsAt
    if (isSweep) sweepsAt = Number.POSITIVE_INFINITY
    const waiting = new Map(consumers().flatMap((one) => (one.isWaiting ? [[one.queue, one] as const] : [])))
    try {
      const found = waiting.size === 0 ? [] : await look([...waiting.keys()])
      if (found.length > 0) log('%s: %o', isSweep ? 'swept' : 'looked for due jobs', found)
      for (const { name, ready, dueInMs } of found) {
        const consumer = waiting.get(name)
        if (ready && isSweep) consumer?.swept()
        if (dueInMs !== null) consumer?.dueSeen(dueInMs)
      }
    } catch (error) {
      log('failed: %s', toError(error).message)
    } finally {
      looking = false
      schedule()
    }
  }

  return {
    start() {
      stopped = false
      schedule()
    },
    hurry: schedule,
    stop() {
      stopped = true
      looksAt = Number.POSITIVE_INFINITY
      sweepsAt = Number.POSITIVE_INFINITY
      clearTimeout(timer)
    },
  }
}
