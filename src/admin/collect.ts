import { setTimeout as sleep } from 'node:timers/promises'
import { jitter } from '../backoff.js'
import { delay, knownKeys, wholeNumber } from '../checks.js'
import type { Database } from '../database/database.js'
import type { CallEffect } from '../database/fault.js'
import type { Duration } from '../duration.js'
import { BugleError } from '../errors.js'
import { type BatchesOptions, createBatchSize, resolveBatches } from './batches.js'
import { type AdminParts, sendForOne } from './send.js'

/** What `collect` deletes: at least one of the two ages. */
export interface CollectOptions extends BatchesOptions {
  /** Failed jobs that failed longer ago. */
  readonly failedOlderThanMs?: Duration | undefined
  /** Archived jobs that were acked longer ago. */
  readonly archivedOlderThanMs?: Duration | undefined
  /** At most so many rows in all, failed ones first. Default: all. */
  readonly limit?: number | undefined
}

/** Rows deleted. */
export interface CollectReport {
  readonly failed: number
  readonly archived: number
}

export type Collectable =
  | keyof CollectReport
  /** Archived jobs that were kept for a time which is over. */
  | 'expired'
  /** Keys that were taken for a time which is over. */
  | 'keys'

/** Rows a statement at most: some tens of milliseconds. Each is a transaction of its own, so vacuum can follow. */
export const collectBatchSize = 1_000

const turnMs = 100

/**
 * Delete jobs that ended long ago, oldest first, by the database's clock.
 *
 * One statement collects at a time in a schema, whichever process it is from: this call waits for its turns.
 * An aborted signal ends it after the statement in flight, or while it waits; it resolves with what was deleted.
 *
 * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`:
 *   nothing was deleted; `RESULT_UNKNOWN`: perhaps something was
 * @see sql/statements/collect_failed.sql, collect_archived.sql
 */
export async function collect({ database }: AdminParts, options: CollectOptions): Promise<CollectReport> {
  const { ages, limit, batches } = resolveCollectOptions(options)
  const report = { failed: 0, archived: 0 }
  const batch = createBatchSize(collectBatchSize)
  let left = limit
  for (const { what, olderThanMs } of ages) {
    while (left > 0 && !batches.isOver) {
      const size = Math.min(left, batch.rows)
      const effect = report.failed + report.archived === 0 ? 'writes' : 'has written'
      const sentAt = performance.now()
      let answer: CollectBatch
      try {
        answer = await collectBatch(database, what, olderThanMs, size, effect)
      } catch (error) {
        if (batch.isTooLarge(error)) continue
        throw error
      }
      batch.answered(performance.now() - sentAt)
      const { locked, deleted } = answer
      report[what] += deleted
      left -= deleted
      if (locked) batches.done(report.failed + report.archived)
      if (!locked) await turn(batches.signal)
      else if (deleted < size) break
    }
  }
  return report
}

/** Over at once when the signal aborts. */
async function turn(signal: AbortSignal | undefined): Promise<void> {
  await sleep(jitter(turnMs, 0.5, 1.5, Math.random), undefined, signal && { signal }).catch(() => {})
}

export interface CollectBatch {
  /** false: another collector is at work, and nothing was done. */
  readonly locked: boolean
  readonly deleted: number
}

/** One statement, at most `limit` rows; fewer mean that there are no more now. */
export function collectBatch(
  database: Database,
  what: Collectable,
  olderThanMs: number,
  limit = collectBatchSize,
  effect: CallEffect = 'writes',
): Promise<CollectBatch> {
  return sendForOne<CollectBatch>(database, `collect_${what}`, [olderThanMs, limit], { name: 'collect', effect })
}

function resolveCollectOptions(options: CollectOptions) {
  knownKeys('collect options', options, ['failedOlderThanMs', 'archivedOlderThanMs', 'limit', 'signal', 'onProgress'])
  const { failedOlderThanMs, archivedOlderThanMs, limit } = options
  const ages: { what: keyof CollectReport; olderThanMs: number }[] = []
  if (failedOlderThanMs !== undefined) {
    ages.push({ what: 'failed', olderThanMs: delay('failedOlderThanMs', failedOlderThanMs) })
  }
  if (archivedOlderThanMs !== undefined) {
    ages.push({ what: 'archived', olderThanMs: delay('archivedOlderThanMs', archivedOlderThanMs) })
  }
  if (ages.length === 0) {
    throw new BugleError('INVALID_OPTION', 'collect needs failedOlderThanMs, archivedOlderThanMs or both; got neither')
  }
  return {
    ages,
    batches: resolveBatches(options),
    limit: limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber('limit', limit, { min: 1 }),
  }
}
