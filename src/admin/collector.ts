import createDebug from 'debug'
import { jitter } from '../backoff.js'
import { toError } from '../errors.js'
import { createBatchSize } from './batches.js'
import { type Collectable, type CollectBatch, collectBatchSize } from './collect.js'

const log = createDebug('bugle:collect')

/**
 * Deletes what ended long ago, now and then, as long as the process consumes.
 *
 * There is no leader: every process does it, at random moments, one statement at a time. A process that finds another
 * at work leaves it to that one. Nothing waits for it, and nothing that goes wrong with it is anybody else's concern.
 */
export interface Collector {
  start(): void
  /** Resolves when no statement is in flight any more. */
  stop(): Promise<void>
}

export interface CollectorOptions {
  /** One statement, at most `limit` rows. */
  readonly collectBatch: (what: Collectable, olderThanMs: number, limit: number) => Promise<CollectBatch>
  /** Ages in milliseconds; null: kept for ever. */
  readonly failedForMs: number | null
  readonly archivedForMs: number | null
  /** What has a time of its own. @defaultValue [] */
  readonly always?: readonly Collectable[]
  readonly random: () => number
  /** The first run comes within this, so that processes that start together do not collect together. */
  readonly firstWithinMs?: number
  /** Between runs, jittered by a fifth. */
  readonly everyMs?: number
  /** The same after a full batch: there is more. */
  readonly soonMs?: number
}

export const collectorDefaults = {
  always: [],
  firstWithinMs: 600_000,
  everyMs: 600_000,
  soonMs: 1_000,
} as const satisfies Partial<CollectorOptions>

export function createCollector(options: CollectorOptions): Collector {
  const { collectBatch, failedForMs, archivedForMs, always, random, firstWithinMs, everyMs, soonMs } = {
    ...collectorDefaults,
    ...options,
  }
  const kept: readonly (readonly [what: Collectable, forMs: number | null])[] = [
    ['failed', failedForMs],
    ['archived', archivedForMs],
    ...always.map((what) => [what, 0] as const),
  ]
  const batch = createBatchSize(collectBatchSize)
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let stopped = true

  function schedule(inMs: number): void {
    if (stopped) return
    clearTimeout(timer)
    timer = setTimeout(() => {
      running = running.then(run)
    }, inMs)
  }

  async function run(): Promise<void> {
    let isMore = false
    for (const [what, forMs] of kept) isMore = (await isFull(what, forMs)) || isMore
    schedule(jitter(isMore ? soonMs : everyMs, 0.8, 1.2, random))
  }

  /** One batch; whether there may be more of it. */
  async function isFull(what: Collectable, olderThanMs: number | null): Promise<boolean> {
    if (stopped || olderThanMs === null) return false
    const { rows } = batch
    const sentAt = performance.now()
    try {
      const { locked, deleted } = await collectBatch(what, olderThanMs, rows)
      log('%s: %s', what, locked ? deleted : 'another is at work')
      batch.answered(performance.now() - sentAt)
      return deleted >= rows
    } catch (error) {
      log('%s: %d rows: failed: %s', what, rows, toError(error).message)
      return batch.isTooLarge(error)
    }
  }

  return {
    start() {
      if (kept.every(([, forMs]) => forMs === null)) return
      stopped = false
      schedule(jitter(firstWithinMs, 0, 1, random))
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}
