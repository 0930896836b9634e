import createDebug from 'debug'
import { toError } from '../errors.js'

const log = createDebug('bugle:sweep')

/**
 * The slow safety net: one statement a worker asks which of its sleeping queues have ready rows.
 *
 * It finds what no notification tells of: rows written with triggers off, and everything while the listener is not
 * live or a consumer sleeps without its lock. Then it comes every second, otherwise every `sweepMs`.
 */
export interface Sweeper {
  start(): void
  /** What it depends on has changed: look again at how soon the next sweep must come. */
  hurry(): void
  stop(): void
}

export interface Sweepable {
  readonly queue: string
  readonly isWaiting: boolean
  readonly isUnprotected: boolean
  raise(): void
}

export interface SweeperOptions {
  /** Between sweeps while all is well, jittered by a fifth; 0: none. */
  readonly sweepMs: number
  readonly isLive: () => boolean
  readonly consumers: () => readonly Sweepable[]
  /** Those of the queues that have ready rows. */
  readonly look: (queues: readonly string[]) => Promise<readonly string[]>
  readonly random: () => number
}

const shortMs = 1_000
/** Node fires a longer timer at once. */
const longestTimerMs = 2_147_483_647

export function createSweeper({ sweepMs, isLive, consumers, look, random }: SweeperOptions): Sweeper {
  let timer: NodeJS.Timeout | undefined
  let dueAt = Number.POSITIVE_INFINITY
  let sweeping = false
  let stopped = true

  function schedule(): void {
    if (stopped || sweeping) return
    const isShort = !isLive() || consumers().some((consumer) => consumer.isUnprotected)
    const inMs = isShort
      ? shortMs
      : sweepMs === 0
        ? Number.POSITIVE_INFINITY
        : Math.min(sweepMs * (0.9 + 0.2 * random()), longestTimerMs)
    // A sweep that is due sooner than that stays where it is.
    if (performance.now() + inMs >= dueAt) return
    clearTimeout(timer)
    dueAt = performance.now() + inMs
    timer = setTimeout(() => void sweep(), inMs)
  }

  async function sweep(): Promise<void> {
    dueAt = Number.POSITIVE_INFINITY
    sweeping = true
    const waiting = consumers().filter((consumer) => consumer.isWaiting)
    try {
      const found = waiting.length === 0 ? [] : await look(waiting.map((consumer) => consumer.queue))
      if (found.length > 0) log('found jobs in %d queues', found.length)
      for (const consumer of waiting) if (found.includes(consumer.queue)) consumer.raise()
    } catch (error) {
      log('failed: %s', toError(error).message)
    } finally {
      sweeping = false
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
      dueAt = Number.POSITIVE_INFINITY
      clearTimeout(timer)
    },
  }
}
